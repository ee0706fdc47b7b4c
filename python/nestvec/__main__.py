"""The `nestvec` command, also `python -m nestvec`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; if rich or typer is missing, names the extra that installs it."""
    try:
        from nestvec.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.exit(f"nestvec: the command line needs {error.name}: pip install 'nestvec[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    app(prog_name="nestvec")


if __name__ == "__main__":
    main()
