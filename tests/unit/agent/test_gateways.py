"""What the agent writes of a gateway, and what is shown of it while time passes and nothing is written."""

import pytest

from lab.agent import gateways
from lab.kernel.state import StateDir
from lab.plan import IkeDaemon, Provenance
from lab.runtime import show

_READY = 1000.0


@pytest.mark.parametrize(
    ("now", "status", "address"), [(_READY - 0.01, "Creating", ""), (_READY, "Connecting", "203.0.113.1")]
)
def test_a_gateway_is_shown_with_its_address_from_when_it_is_built(
    monkeypatch: pytest.MonkeyPatch, now: float, status: str, address: str
):
    # The agent writes before the gateway is built, and not again when it is.
    monkeypatch.setattr("time.time", lambda: _READY - 1)
    item = IkeDaemon(
        place="gw.VNet1",
        kind="DynamicRouting Standard",
        address="203.0.113.1",
        ready_at=_READY,
        why=Provenance("vpn_gateway", "gateway of VNet1", ""),
    )
    written = gateways.Gateway(StateDir("any"), item, "kernel").state()
    shown = show.gateway("gw.VNet1", written, now)
    assert (shown["Status"], shown["VipAddress"]) == (status, address)
