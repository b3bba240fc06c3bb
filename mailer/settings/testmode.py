"""Backends of the settings once more, in their providers' test mode."""

from __future__ import annotations

from mailer.settings.settings import Settings

#: The option of every provider that has a test mode.
SWITCH = "sandbox=true"


def tested(settings: Settings, wish: str) -> tuple[Settings, str]:
    """Settings with a twin of this backend in its test mode, and the twin's name: ``main?sandbox=true``.

    A route gets one with the twins of its backends. A URL is its own twin, and a twin stays what it is.
    """
    if _switched(wish) and wish.partition("?")[0] not in (*settings.backends, *settings.routes):
        return settings, wish
    name = wish.removesuffix(f"?{SWITCH}")
    twin = f"{name}?{SWITCH}"
    if name in settings.backends:
        return _with_twins(settings, name), twin
    if name in settings.routes:
        route = settings.routes[name]
        twins = _with_twins(settings, *route.backends)
        weights = route.backends
        named = (
            {f"{one}?{SWITCH}": weight for one, weight in weights.items()}
            if isinstance(weights, dict)
            else [f"{one}?{SWITCH}" for one in weights]
        )
        routes = {**settings.routes, twin: route.model_copy(update={"backends": named})}
        return twins.model_copy(update={"routes": routes}), twin
    return settings, f"{wish}{'&' if '?' in wish else '?'}{SWITCH}"


def _switched(wish: str) -> bool:
    return SWITCH in wish.partition("?")[2].split("&")


def _with_twins(settings: Settings, *names: str) -> Settings:
    twins = {
        f"{name}?{SWITCH}": backend.model_copy(update={"options": {**backend.options, "sandbox": True}})
        for name in names
        for backend in (settings.backends[name],)
    }
    return settings.model_copy(update={"backends": {**settings.backends, **twins}})
