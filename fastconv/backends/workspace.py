"""Error of a kernel that got too little workspace."""

from __future__ import annotations


class WorkspaceTooSmall(ValueError):
    """The call was not made: it needs more memory to work in.

    Parameters
    ----------
    kernel
        ``module.function`` of the contract.
    needed
        Bytes of workspace that are enough for these arrays, wherever they begin.
    given
        Bytes that there were.
    """

    def __init__(self, kernel: str, needed: int, given: int) -> None:
        super().__init__(kernel, needed, given)
        self.kernel, self.needed, self.given = kernel, needed, given

    def __str__(self) -> str:
        return (
            f"{self.kernel}: workspace has {self.given} bytes; expected {self.needed} or more, as "
            f"workspace_bytes says"
        )
