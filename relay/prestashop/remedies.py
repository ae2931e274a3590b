"""What a merchant should do about each trouble: one sentence or two, in plain words, in English and French."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remedy:
    """`{detail}` in the text stands for the particulars of the trouble."""

    en: str
    fr: str

    def about(self, detail: str) -> Remedy:
        return Remedy(self.en.replace("{detail}", detail), self.fr.replace("{detail}", detail))


UNVERIFIED = Remedy(
    "Unable to verify Store URL and Webservice Key. Please ensure you have entered the correct details and that the "
    "store's Webservice is enabled.",
    "Impossible de vérifier l'URL de la boutique et la clé du webservice. Vérifiez que les informations saisies sont "
    "correctes et que le webservice de la boutique est activé.",
)
"""Where nothing more exact is known."""

REMEDIES = {
    "agent_unknown": Remedy(
        "This agent does not exist or was deleted. Choose another agent for the connection.",
        "Cet agent n'existe pas ou a été supprimé. Choisissez un autre agent pour la connexion.",
    ),
    "agent_revoked": Remedy(
        "This agent was revoked. Choose another agent for the connection.",
        "Cet agent a été révoqué. Choisissez un autre agent pour la connexion.",
    ),
    "agent_offline": Remedy(
        "The agent is not connected. Look whether its machine is on and run `postern-agent check` there.",
        "L'agent n'est pas connecté. Vérifiez que sa machine est allumée et lancez-y `postern-agent check`.",
    ),
    "store_not_published": Remedy(
        "The agent does not publish {detail}. Add it on the agent's machine with --store and reload the agent.",
        "L'agent ne publie pas {detail}. Ajoutez-le avec --store sur la machine de l'agent, puis rechargez l'agent.",
    ),
    "store_dns": Remedy(
        "The store's name is not known there. Check the spelling, or give the agent the address to dial: --store URL=ADDRESS:PORT.",
        "Le nom de la boutique y est inconnu. Vérifiez l'orthographe, ou indiquez à l'agent l'adresse à joindre : --store URL=ADRESSE:PORT.",
    ),
    "store_refused": Remedy(
        "The store's machine refuses the connection. Check the port, and whether its web server is running.",
        "La machine de la boutique refuse la connexion. Vérifiez le port et que son serveur web fonctionne.",
    ),
    "store_unreachable": Remedy(
        "There is no way to the store's machine. Check its address, and whether it is on.",
        "La machine de la boutique est injoignable. Vérifiez son adresse et qu'elle est allumée.",
    ),
    "store_timeout": Remedy(
        "The store does not answer in time. Check its address, a firewall on its machine, and its load.",
        "La boutique ne répond pas à temps. Vérifiez son adresse, le pare-feu de sa machine et sa charge.",
    ),
    "store_forbidden": Remedy(
        "This is not a public address. Use mode on-premise, with an agent in the store's network.",
        "Ce n'est pas une adresse publique. Utilisez le mode on-premise, avec un agent dans le réseau de la boutique.",
    ),
    "store_tls": Remedy(
        "The store's certificate cannot be verified ({detail}). Install a valid one, give the connection its CA, or publish the plain http:// address.",
        "Le certificat de la boutique ne peut pas être vérifié ({detail}). Installez-en un valide, donnez son AC à la connexion, ou publiez l'adresse http://.",
    ),
    "store_closed_early": Remedy(
        "The store closes the connection without an answer. Look at its web server's error log.",
        "La boutique ferme la connexion sans répondre. Consultez le journal d'erreurs de son serveur web.",
    ),
    "store_bad_answer": Remedy(
        "What answers there does not speak plain HTTP. Check the address and the port.",
        "Ce qui répond à cette adresse ne parle pas un HTTP correct. Vérifiez l'adresse et le port.",
    ),
    "host_not_owned": Remedy(
        "Your shop says that its name is {detail}. Enter {detail} as the store's URL, or mend the shop's URL settings.",
        "Votre boutique dit s'appeler {detail}. Saisissez {detail} comme URL de la boutique, ou corrigez ses réglages d'URL.",
    ),
    "store_redirects": Remedy(
        "The shop sends us on to {detail}. If that is your shop, enter that address instead.",
        "La boutique nous renvoie vers {detail}. Si c'est bien votre boutique, saisissez cette adresse à la place.",
    ),
    "webservice_off": Remedy(
        "The webservice is switched off. Switch it on under Advanced Parameters → Webservice.",
        "Le webservice est désactivé. Activez-le sous Paramètres avancés → Webservice.",
    ),
    "rewriting_off": Remedy(
        "The address /api is not switched on in your web server. Save Shop Parameters → Traffic & SEO once; on nginx add the rule for /api.",
        "L'adresse /api n'est pas active sur votre serveur web. Enregistrez une fois Paramètres de la boutique → Trafic et SEO ; sur nginx, ajoutez la règle pour /api.",
    ),
    "api_not_found": Remedy(
        "There is no PrestaShop webservice at this address. Check the folder in the store's URL, and save Shop Parameters → Traffic & SEO once.",
        "Aucun webservice PrestaShop à cette adresse. Vérifiez le dossier dans l'URL de la boutique, puis enregistrez une fois Paramètres de la boutique → Trafic et SEO.",
    ),
    "front_page": Remedy(
        "The shop's pages answer instead of its webservice. Check the store's URL, and save Shop Parameters → Traffic & SEO once; on nginx add the rule for /api.",
        "Les pages de la boutique répondent à la place du webservice. Vérifiez l'URL, puis enregistrez une fois Paramètres de la boutique → Trafic et SEO ; sur nginx, ajoutez la règle pour /api.",
    ),
    "maintenance": Remedy(
        "The shop's maintenance page answers instead of its webservice. Save Shop Parameters → Traffic & SEO once, or end the maintenance.",
        "La page de maintenance répond à la place du webservice. Enregistrez une fois Paramètres de la boutique → Trafic et SEO, ou terminez la maintenance.",
    ),
    "site_password": Remedy(
        "The site asks for a password before it opens. Exempt /api from it.",
        "Le site demande un mot de passe avant de s'ouvrir. Exemptez /api de cette protection.",
    ),
    "authorization_stripped": Remedy(
        "Your web server removes the key before PrestaShop sees it. Switch on Enable CGI mode for PHP (Advanced Parameters → Webservice) and save Traffic & SEO once, "
        "or allow this connection to send the key in the address (key_place: ws_key).",
        "Votre serveur web retire la clé avant que PrestaShop ne la voie. Activez le mode CGI pour PHP (Paramètres avancés → Webservice) et enregistrez Trafic et SEO, "
        "ou autorisez cette connexion à envoyer la clé dans l'adresse (key_place : ws_key).",
    ),
    "key_not_seen": Remedy(
        "The shop saw no key, however it was sent. A proxy or firewall in front of it takes it away: exempt /api.",
        "La boutique n'a vu aucune clé, quelle que soit la façon de l'envoyer. Un proxy ou un pare-feu la retire : exemptez /api.",
    ),
    "key_malformed": Remedy(
        "The key is not complete. Copy it again: it has 32 characters. If the site asks for a password, exempt /api.",
        "La clé n'est pas complète. Copiez-la de nouveau : elle a 32 caractères. Si le site demande un mot de passe, exemptez /api.",
    ),
    "key_unknown": Remedy(
        "PrestaShop does not know this key, or it is switched off. Compare it, and set its Status to enabled.",
        "PrestaShop ne connaît pas cette clé, ou elle est désactivée. Comparez-la et activez son statut.",
    ),
    "key_without_permissions": Remedy(
        "The key is right but may do nothing. Open it under Advanced Parameters → Webservice and tick its permissions.",
        "La clé est bonne mais n'a aucun droit. Ouvrez-la sous Paramètres avancés → Webservice et cochez ses permissions.",
    ),
    "key_of_no_shop": Remedy(
        "The key belongs to no shop, or to another one of this installation. Edit the key and tick this shop.",
        "La clé n'est liée à aucune boutique, ou à une autre de cette installation. Modifiez-la et cochez cette boutique.",
    ),
    "key_class_missing": Remedy(
        "The key was made by a module that is gone. Make a new key.",
        "La clé a été créée par un module disparu. Créez une nouvelle clé.",
    ),
    "store_noise": Remedy(
        "Something adds text to the shop's answers ({detail}). Switch off debug mode under Advanced Parameters → Performance, or exempt /api in the module that adds it.",
        "Quelque chose ajoute du texte aux réponses de la boutique ({detail}). Désactivez le mode debug sous Paramètres avancés → Performances, ou exemptez /api dans le module concerné.",
    ),
    "store_not_xml": Remedy(
        "The answer is no XML that can be read ({detail}). A module may damage it; look at the shop's error log.",
        "La réponse n'est pas un XML lisible ({detail}). Un module l'abîme peut-être ; consultez le journal d'erreurs.",
    ),
    "php_error": Remedy(
        "A programming fault broke the answer ({detail}). Update or switch off that module, or use a PHP version that your PrestaShop supports.",
        "Une erreur de programmation a interrompu la réponse ({detail}). Mettez à jour ou désactivez ce module, ou utilisez une version de PHP prise en charge.",
    ),
    "php_fatal": Remedy(
        "The shop's PHP failed. Give this to the shop's developer, and have the host raise memory_limit and max_execution_time. {detail}",
        "Le PHP de la boutique a échoué. Transmettez ceci au développeur, et faites augmenter memory_limit et max_execution_time. {detail}",
    ),
    "challenge_page": Remedy(
        "A service in front of the shop asks our program to prove it is human. Exempt /api, or let an agent call the shop's inner address.",
        "Un service devant la boutique demande à notre programme de prouver qu'il est humain. Exemptez /api, ou laissez un agent appeler l'adresse interne.",
    ),
    "firewall_blocks": Remedy(
        "A firewall of the web server blocks this request ({detail}). Ask the host to exempt /api.",
        "Un pare-feu du serveur web bloque cette requête ({detail}). Demandez à l'hébergeur d'exempter /api.",
    ),
    "rate_limited": Remedy(
        "The host limits the number of requests. Ask it to raise the limit for our address.",
        "L'hébergeur limite le nombre de requêtes. Demandez-lui de relever la limite pour notre adresse.",
    ),
    "store_proxy_failed": Remedy(
        "A proxy in front of the shop got no answer from it ({detail}). Look at the shop's load and its error log.",
        "Un proxy devant la boutique n'a pas obtenu de réponse ({detail}). Vérifiez la charge et le journal d'erreurs.",
    ),
}  # fmt: skip


def remedy(code: str, detail: str = "") -> Remedy:
    """The sentence for a trouble; the one for everything else where there is none."""
    return REMEDIES.get(code, UNVERIFIED).about(detail)
