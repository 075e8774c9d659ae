"""Several operations as one: all of them, or none."""

import msgspec

from lab.azure.model import Network
from lab.operations.base import Operation


class Together(msgspec.Struct, frozen=True):
    """What is asked for at once, such as by Update-AzureVM; what must hold, must hold after the last."""

    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        return ", ".join(str(operation) for operation in self.operations)

    def after(self, network: Network) -> Network:
        """Return the network as the last operation leaves it.

        Raises:
            Refused: one of them is.

        """
        for operation in self.operations:
            network = operation.after(network)
        return network
