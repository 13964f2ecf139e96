"""The names under which people know published detectors, and the presets that are like them."""

ALIASES = {"patchcore": "memory", "padim": "gaussian", "vt-adl": "paper", "vtadl": "paper"}


def preset_name(name: str) -> str:
    """A preset by any of its names; any other name as it is.

    >>> preset_name("PatchCore")
    'memory'
    """
    return ALIASES.get(name.lower(), name)
