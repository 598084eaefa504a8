"""The kernel of a headless run: how papermill talks to it, and how it ends."""

from __future__ import annotations

import os
import uuid
from typing import Any


def kernel_options() -> dict[str, Any]:
    """Return what papermill hands on to nbclient.

    It is the kernel's sockets, and a manager that ends it quietly.
    """
    from jupyter_client.manager import AsyncKernelManager

    running_cells: set[int] = set()

    class Manager(AsyncKernelManager):
        """Interrupts a kernel that is to end only while a cell runs.

        jupyter_client always does; a kernel that just answers something else then prints
        ``[IPKernelApp] ERROR | KeyboardInterrupt caught in kernel.``
        """

        async def _async_interrupt_kernel(self) -> None:
            if running_cells or not self.shutting_down:
                await super()._async_interrupt_kernel()

    return {
        "config": _transport(),
        "kernel_manager_class": Manager,
        "on_cell_execute": lambda cell, cell_index: running_cells.add(cell_index),
        "on_cell_executed": lambda cell, cell_index, execute_reply: running_cells.discard(
            cell_index
        ),
    }


def _transport() -> Any:
    """Talk to the kernel over sockets in the user's own folder.

    On a JupyterHub, the loopback interface is shared.
    """
    from jupyter_core.paths import jupyter_runtime_dir
    from jupyter_core.utils import ensure_dir_exists
    from traitlets.config import Config

    folder = jupyter_runtime_dir()
    # on a machine where no kernel has run yet, no other program has made it
    ensure_dir_exists(folder, mode=0o700)
    if os.name != "posix" or len(folder) > 55:  # a socket's path has 107 bytes at most
        return Config()
    # without a place of their own they would be `kernel-ipc-1` and so on, beside the notebook
    return Config(
        {"KernelManager": {"transport": "ipc", "ip": f"{folder}/labkit-{uuid.uuid4().hex[:12]}"}}
    )
