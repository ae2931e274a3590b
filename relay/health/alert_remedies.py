"""What to do about an alert: one sentence or two, in plain words, in English and French."""

from __future__ import annotations

from relay.alert_records import AlertKind
from relay.health.agent_remedies import FLAPPING
from relay.prestashop.remedies import REMEDIES, Remedy, remedy

_OF_AGENTS = {
    AlertKind.AGENT_OFFLINE: REMEDIES["agent_offline"],
    AlertKind.AGENT_FLAPPING: FLAPPING,
    AlertKind.AGENT_CLONE: Remedy(
        "Two programs use this agent's key: its machine or its state directory was copied. Stop one of them, delete "
        "its state directory, and give it a token of its own. If you know of no copy, revoke the instance.",
        "Deux programmes utilisent la clé de cet agent : sa machine ou son répertoire d'état a été copié. Arrêtez l'un "
        "des deux, supprimez son répertoire d'état et donnez-lui son propre jeton. Si vous ne connaissez aucune copie, "
        "révoquez l'instance.",
    ),
    AlertKind.AGENT_VERSION_BEHIND: Remedy(
        "The agent runs an older version than the relay. Upgrade it on its machine when it suits you.",
        "L'agent utilise une version plus ancienne que le relais. Mettez-le à jour sur sa machine à votre convenance.",
    ),
}
_OF_TOKENS = {
    True: Remedy(
        "Create another access token for the agent, put it into its token file, restart it, and revoke the old one.",
        "Créez un autre jeton d'accès pour l'agent, placez-le dans son fichier de jeton, redémarrez l'agent, puis "
        "révoquez l'ancien.",
    ),
    False: Remedy(
        "Create another API token, give it to whoever uses this one, and revoke the old one.",
        "Créez un autre jeton d'API, donnez-le à ceux qui utilisent celui-ci, puis révoquez l'ancien.",
    ),
}
_OF_CERTIFICATES = {
    True: Remedy(
        "Renew the certificate of the store's web server.",
        "Renouvelez le certificat du serveur web de la boutique.",
    ),
    False: Remedy(
        "Renew the relay's own certificate: it takes in the new files by itself.",
        "Renouvelez le certificat du relais : il prend en compte les nouveaux fichiers de lui-même.",
    ),
}


def remedy_of(kind: AlertKind, *, agent: bool, connection: bool, code: str | None, detail: str) -> Remedy | None:
    """The sentence for an alert about an agent or a connection; None: there is nothing to do."""
    match kind:
        case AlertKind.STORE_UNREACHABLE | AlertKind.STORE_KEY_REFUSED:
            return remedy(code or "", detail)
        case AlertKind.TOKEN_EXPIRING:
            return _OF_TOKENS[agent]
        case AlertKind.CERTIFICATE_EXPIRING:
            return _OF_CERTIFICATES[connection]
        case _:
            return _OF_AGENTS.get(kind)
