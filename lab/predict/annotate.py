"""What decides about a packet that was captured: the rules of the hop that it is at, by the documents."""

from collections.abc import Iterator, Mapping

from lab.azure.model import Network
from lab.formats.pcap import Headers
from lab.predict import explain
from lab.predict.explain import Hop
from lab.predict.forecast import Service
from lab.verify.experiment import Seen

_MOST = 1000  # flows that are explained; further ones get no comment


class Annotator:
    """Explains each flow when its first packet is seen where it begins, and knows its packets at later places."""

    def __init__(
        self, network: Network, down: frozenset[str] = frozenset(), broken: Mapping[frozenset[str], str] | None = None
    ) -> None:
        self._network, self._down, self._broken = network, down, broken or {}
        self._nodes = {str(host.address): host.name for host in network.internet}
        for vm in network.virtual_machines:
            self._nodes.update((str(i.private_ip_address), vm.name) for i in vm.network_interfaces)
        self._explained: dict[tuple[str, str, Service], tuple[Hop, ...]] = {}

    def comment(self, seen: Headers) -> str:
        """Return what decides about a packet here; empty if it is the answer to another, or of no known flow."""
        if seen.protocol not in ("tcp", "udp"):
            return ""
        self._meet(seen)
        rules = [rule for hop in self._hops_of(seen) for rule in hop.rules]
        said = [rule.says if rule.name in rule.says else f"{rule.name}: {rule.says}" for rule in rules]
        return "; ".join(dict.fromkeys(said))

    def _meet(self, seen: Headers) -> None:
        """Explain the flow of a packet that is at the node where it begins, unless it is known."""
        sender = self._nodes.get(seen.source)
        begins = seen.opens if seen.protocol == "tcp" else not any(self._hops_of(seen.back()))
        if sender is None or not begins or len(self._explained) >= _MOST:
            return
        service = Service("tcp" if seen.protocol == "tcp" else "udp", seen.destination_port)
        key = (sender, seen.destination, service)
        if key not in self._explained:
            try:
                found = explain.explain(self._network, *key, source_port=None, down=self._down, broken=self._broken)
                self._explained[key] = found.hops
            except KeyError:  # to what is no address of this network
                self._explained[key] = ()

    def _hops_of(self, seen: Headers) -> Iterator[Hop]:
        """Yield the hops of known flows to which such a packet comes."""
        packet = Seen(0, seen.source, seen.source_port, seen.destination, seen.destination_port)
        for hops in self._explained.values():
            yield from (hop for hop in hops if hop.packet.protocol == seen.protocol and hop.packet.is_like(packet))
