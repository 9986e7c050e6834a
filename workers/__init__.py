"""Workers: the method (`workers.spd`), the durable jobs (`workers.jobs`) and the worker process (`workers.trainer`)."""

from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """The versions that numbers depend on: unweave, torch, transformers. Imports none of them."""
    result: dict[str, str] = {}
    for name in ("unweave", "torch", "transformers"):
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = "unknown"
    return result
