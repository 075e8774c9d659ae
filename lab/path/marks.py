"""Who uses which bits of a packet's mark. A namespace's rules share one mark of 32 bits.

    0-27   where a rule with floating IP leads: bit 27, and the lower bits of the VM's address; they choose the route
    28-30  what the addresses of a packet are, for security groups

``HashMark`` writes the whole mark, with a small number; it is used before anything else is known of a packet.
"""

from lab.azure.model import VirtualMachine

#: What the addresses of a packet are: the source is of the virtual network, is not of the internet (of the virtual
#: network or the platform's own), the destination is of the virtual network.
FROM_VNET, NOT_FROM_INTERNET, TO_VNET = 1 << 28, 1 << 29, 1 << 30

_FLOATING = 1 << 27
#: The bits that tell where a rule with floating IP leads.
FLOATING_MASK = (_FLOATING << 1) - 1
#: At the edge: to the router.
TO_ROUTER = _FLOATING


def to_vm(vm: VirtualMachine) -> int:
    """Return what leads to a VM, at its router: the same whatever other VMs are there, since live flows remember it.

    Private ranges (RFC 1918, RFC 6598) differ in the bits that are left of an address.
    """
    return _FLOATING | int(vm.private_ip_address) & (_FLOATING - 1)
