"""Organisations and apps as label values: a bounded set, so that no traffic can grow memory."""

from __future__ import annotations

import hashlib

from config.values import TenantLabel
from proxy.observe.log import printable

TENANTS_MAX = 500
OTHER = "other"


class TenantNames:
    """Organisations as label values: at most `TENANTS_MAX` of them, first come, the rest as `other`.

    The value is empty, which Prometheus takes for no label, where there is no organisation to name. Apps are
    named in the same way: the id of a custom connection's app is that of its organisation.
    """

    def __init__(self, mode: TenantLabel) -> None:
        self._mode = mode
        self._names: dict[str, str] = {"": ""}
        self._apps: dict[tuple[str, str], str] = {}

    def __call__(self, tenant: str) -> str:
        """The label value of one organisation."""
        name = self._names.get(tenant)
        if name is not None:
            return name
        if self._mode is TenantLabel.NONE:
            return ""
        if len(self._names) > TENANTS_MAX:
            return OTHER
        name = self._names[tenant] = self._shown(tenant)
        return name

    def app(self, app: str, tenant: str) -> str:
        """The label value of an app where it uses the limits of an organisation: so many of both together."""
        name = self._apps.get((app, tenant))
        if name is not None:
            return name
        if self._mode is TenantLabel.NONE:
            return ""
        if len(self._apps) >= 2 * TENANTS_MAX:
            return OTHER
        name = self._apps[app, tenant] = self._shown(app)
        return name

    def _shown(self, name: str) -> str:
        if self._mode is TenantLabel.HASH:
            return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return printable(name)
