"""The demo: real text, a real encoder and a compressed table, from nothing to answers.

python -m nestvec.demo [--limit N] [--cache DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nestvec.errors import NestvecError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo and returns the exit code: 0, 1 for an error, 130 for an interrupt."""
    parser = argparse.ArgumentParser(prog="python -m nestvec.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--limit", type=int, metavar="N", help="use only N texts, evenly spaced")
    parser.add_argument("--cache", type=Path, metavar="DIR", default=default_cache(), help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < 1:
        parser.error(f"--limit is {options.limit}; expected at least 1")
    try:
        from nestvec.demo.run import run

        run(options.cache.expanduser(), options.limit)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        return _fail("the demo needs rich: pip install 'nestvec[cpu,cli,export]'")
    except (NestvecError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted; the next run reuses the complete parts", file=sys.stderr)
        return 130
    return 0


def _fail(message: str) -> int:
    print(f"nestvec demo: error: {message}", file=sys.stderr)
    return 1


def default_cache() -> Path:
    """The user's cache folder by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nestvec"


if __name__ == "__main__":
    sys.exit(main())
