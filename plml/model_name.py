"""Names that a registered model may have."""

from plml.errors import ConfigError

FORBIDDEN = "/:.%\"'"


def check_model_name(name: str, path: str) -> str:
    """Return ``name``; raise ConfigError, naming ``path``, if MLflow could not register a model under it."""
    if not name.strip() or set(FORBIDDEN) & set(name):
        raise ConfigError(f"{path}: a registered model has a name without any of {' '.join(FORBIDDEN)}, got '{name}'")
    return name
