"""Where completions find names while the user types: models in the cache, profiles in the configuration.

Only names of plain characters are offered: what a server calls its models is not to be trusted in a shell.
"""

from __future__ import annotations

MODELS_SED = r"/^[[:alnum:]][[:alnum:]._:\/@+-]*$/p"
PROFILES_SED = (
    r"s/^[[:space:]]*\[[[:space:]]*profile[[:space:]]*\.[[:space:]]*"
    r"""["]\{0,1\}\([[:alnum:]_-]\{1,\}\)["]\{0,1\}[[:space:]]*\].*/\1/p"""
)

# For bash and zsh.
MODELS = f"""LC_ALL=C sed -n '{MODELS_SED}' "${{XDG_CACHE_HOME:-$HOME/.cache}}/oastream/models\""""
PROFILES = f"""LC_ALL=C sed -n '{PROFILES_SED}' "${{XDG_CONFIG_HOME:-$HOME/.config}}/oastream/config.toml\""""
