"""Rules of a network security group come and go (virtual-networks-nsg.md, 2016-02-11)."""

import msgspec

from lab.azure.model import Network, SecurityGroup, SecurityRule
from lab.azure.security_groups import defaults
from lab.errors import Problem, did_you_mean
from lab.operations.base import Refused


class AddRule(msgspec.Struct, frozen=True):
    """A rule is added to a group."""

    group: str
    rule: SecurityRule

    def __str__(self) -> str:
        return f"nsg rule add {self.group} {self.rule.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the rule.

        Raises:
            Refused: there is no such group.

        """
        group = _group(network, self.group, self)
        return _with(network, SecurityGroup(name=group.name, rules=(*group.rules, self.rule)))


class RemoveRule(msgspec.Struct, frozen=True):
    """A rule is removed from a group; flows that it let begin go on (virtual-networks-nsg.md, 2016-02-11: stateful)."""

    group: str
    rule: str

    def __str__(self) -> str:
        return f"nsg rule remove {self.group} {self.rule}"

    def after(self, network: Network) -> Network:
        """Return the network without the rule.

        Raises:
            Refused: there is no such group or rule, or it is a default rule.

        """
        group = _group(network, self.group, self)
        named = self.rule.lower()  # a rule's name is unique whatever its case
        kept = tuple(rule for rule in group.rules if rule.name.lower() != named)
        if len(kept) == len(group.rules):
            default = next((rule.name for rule in defaults(network.profile) if rule.name.lower() == named), None)
            must = (
                f"a default rule cannot be removed ({network.profile.sources['nsg_default_names']})"
                if default
                else "it must name a rule of the group"
            )
            advice = (
                "override it by a rule with a lower priority"
                if default
                else did_you_mean(self.rule, [rule.name for rule in group.rules])
            )
            path = ("network_security_groups", group.name)
            found = f'default rule "{default}"' if default else f'no rule "{self.rule}"'
            raise Refused(self, [Problem(path=path, found=found, must=must, advice=advice)])
        return _with(network, SecurityGroup(name=group.name, rules=kept))


def _group(network: Network, name: str, operation: AddRule | RemoveRule) -> SecurityGroup:
    group = network.security_group(name)
    if group is None:
        problem = Problem(
            path=("network_security_groups",),
            found=f'no network security group "{name}"',
            must="it must name a group of the lab",
            advice=did_you_mean(name, [g.name for g in network.network_security_groups]),
        )
        raise Refused(operation, [problem])
    return group


def _with(network: Network, group: SecurityGroup) -> Network:
    groups = tuple(group if g.name == group.name else g for g in network.network_security_groups)
    return msgspec.structs.replace(network, network_security_groups=groups)
