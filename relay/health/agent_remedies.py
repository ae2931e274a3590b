"""What to do about an agent that is not online, in plain words, in English and French."""

from __future__ import annotations

from relay.health.conditions import AgentState
from relay.prestashop.remedies import REMEDIES, Remedy

FLAPPING = Remedy(
    "The agent's connection breaks again and again. Run `postern-agent check` on its machine, and look at its network: "
    "a firewall that ends idle connections, a poor line, a proxy.",
    "La connexion de l'agent se rompt sans cesse. Lancez `postern-agent check` sur sa machine et vérifiez son réseau : "
    "un pare-feu qui coupe les connexions inactives, une mauvaise ligne, un proxy.",
)
_OF_STATES = {
    AgentState.DEGRADED: Remedy(
        "Requests get through, but not all ways to the agent stand. Run `postern-agent check` on its machine: it says "
        "which way is blocked.",
        "Les requêtes passent, mais tous les chemins vers l'agent ne tiennent pas. Lancez `postern-agent check` sur sa "
        "machine : il indique quel chemin est bloqué.",
    ),
    AgentState.OFFLINE: REMEDIES["agent_offline"],
    AgentState.NEVER: Remedy(
        "No machine has used this agent's access token yet. Install the agent in the shop's network and give it the "
        "token; `postern-agent check` says what is in its way.",
        "Aucune machine n'a encore utilisé le jeton d'accès de cet agent. Installez l'agent dans le réseau de la "
        "boutique et donnez-lui le jeton ; `postern-agent check` indique ce qui le gêne.",
    ),
}


def remedy_of(state: AgentState, *, flapping: bool) -> Remedy | None:
    """None: there is nothing to do."""
    return FLAPPING if flapping and state is AgentState.DEGRADED else _OF_STATES.get(state)
