"""Rules of a network security group come and go (virtual-networks-nsg.md, 2016-02-11)."""

import msgspec

from lab.azure.model import Network, SecurityGroup, SecurityRule
from lab.azure.security_groups import defaults
from lab.errors import did_you_mean
from lab.operations import lookup


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
        group = lookup.security_group(self, network, self.group)
        return network.including(SecurityGroup(name=group.name, rules=(*group.rules, self.rule)))


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
        group = lookup.security_group(self, network, self.group)
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
            lookup.refuse(self, path, found, must, advice)
        return network.including(SecurityGroup(name=group.name, rules=kept))
