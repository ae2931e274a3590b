"""What a merchant should do about each trouble: one sentence or two, in plain words, in English and French."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remedy:
    """`{detail}` in the text stands for the particulars of the trouble."""

    en: str
    fr: str

    def about(self, detail: str) -> Remedy:
        """With the particulars, or without the brackets that would hold them."""
        if detail:
            return Remedy(self.en.replace("{detail}", detail), self.fr.replace("{detail}", detail))
        return Remedy(_without_place(self.en), _without_place(self.fr))


def _without_place(text: str) -> str:
    return text.replace(" ({detail})", "").replace(" {detail}", "")


UNVERIFIED = Remedy(
    "Unable to verify Store URL and Webservice Key. Please ensure you have entered the correct details and that the "
    "store's Webservice is enabled.",
    "Impossible de vérifier l'URL de la boutique et la clé du webservice. Vérifiez que les informations saisies sont "
    "correctes et que le webservice de la boutique est activé.",
)
"""Where nothing more exact is known."""

_WAY = {
    "agent_unknown": Remedy(
        "This agent does not exist or was deleted. Choose another agent for the connection.",
        "Cet agent n'existe pas ou a été supprimé. Choisissez un autre agent pour la connexion.",
    ),
    "agent_revoked": Remedy(
        "This agent was revoked. Choose another agent for the connection.",
        "Cet agent a été révoqué. Choisissez un autre agent pour la connexion.",
    ),
    "agent_offline": Remedy(
        "The agent is not connected. Look whether its machine is on, and run `postern-agent check` there.",
        "L'agent n'est pas connecté. Vérifiez que sa machine est allumée et lancez-y `postern-agent check`.",
    ),
    "agent_busy": Remedy(
        "The agent has too many connections open. Try again in a minute; if it stays so, look at the store's load.",
        "L'agent a trop de connexions ouvertes. Réessayez dans une minute ; si cela dure, vérifiez la charge de la boutique.",
    ),
    "agent_fault": Remedy(
        "Something went wrong in the agent ({detail}). Look at its log on the agent's machine.",
        "Une erreur s'est produite dans l'agent ({detail}). Consultez son journal sur la machine de l'agent.",
    ),
    "tunnel_lost": Remedy(
        "The tunnel to the agent broke during the test. Try again; if it stays so, run `postern-agent check` on the agent's machine.",
        "Le tunnel vers l'agent s'est rompu pendant le test. Réessayez ; si cela dure, lancez `postern-agent check` sur la machine de l'agent.",
    ),
    "store_not_published": Remedy(
        "The agent does not publish {detail}. Add it on the agent's machine with --store, and restart the agent.",
        "L'agent ne publie pas {detail}. Ajoutez-le avec --store sur la machine de l'agent, puis redémarrez l'agent.",
    ),
    "store_dns": Remedy(
        "Nobody there knows the store's name. Check its spelling; with an agent you may also give the address to dial: --store URL=ADDRESS:PORT.",
        "Le nom de la boutique y est inconnu. Vérifiez son orthographe ; avec un agent, vous pouvez aussi indiquer l'adresse à joindre : --store URL=ADRESSE:PORT.",
    ),
    "store_forbidden": Remedy(
        "This is not a public address. Use mode on-premise, with an agent in the store's network.",
        "Ce n'est pas une adresse publique. Utilisez le mode on-premise, avec un agent dans le réseau de la boutique.",
    ),
    "store_refused": Remedy(
        "The store's machine refuses the connection. Check the port, and whether its web server is running.",
        "La machine de la boutique refuse la connexion. Vérifiez le port, et que son serveur web fonctionne.",
    ),
    "store_unreachable": Remedy(
        "There is no way to the store's machine. Check its address, and whether it is on.",
        "La machine de la boutique est injoignable. Vérifiez son adresse, et qu'elle est allumée.",
    ),
    "store_timeout": Remedy(
        "The store does not answer in time. Check its address, a firewall in front of it, and its load.",
        "La boutique ne répond pas à temps. Vérifiez son adresse, un éventuel pare-feu et sa charge.",
    ),
    "store_tls": Remedy(
        "A secure connection to the store does not come about ({detail}). Check that the port is the one of https, and the TLS settings of its web server.",
        "La connexion sécurisée avec la boutique n'aboutit pas ({detail}). Vérifiez que le port est celui de https, et les réglages TLS de son serveur web.",
    ),
    "tls_self_signed": Remedy(
        "The store's certificate is signed by itself. Install one from a certificate authority, or enter the certificate in the connection as its own CA.",
        "Le certificat de la boutique est auto-signé. Installez-en un d'une autorité de certification, ou indiquez ce certificat comme AC dans la connexion.",
    ),
    "tls_authority_unknown": Remedy(
        "The store's certificate comes from an authority that is not known here, or its intermediate certificate is missing. "
        "Install the full chain, or give the connection the authority's certificate.",
        "Le certificat de la boutique vient d'une autorité inconnue ici, ou le certificat intermédiaire manque. "
        "Installez la chaîne complète, ou indiquez le certificat de l'autorité dans la connexion.",
    ),
    "tls_wrong_name": Remedy(
        "The store's certificate is made for another name. Enter the name it is made for as the store's URL, or install one for this name.",
        "Le certificat de la boutique est établi pour un autre nom. Saisissez ce nom comme URL de la boutique, ou installez un certificat pour le nom saisi.",
    ),
    "tls_expired": Remedy(
        "The store's certificate is not valid today ({detail}). Renew it, and look at the clock of its machine.",
        "Le certificat de la boutique n'est pas valable aujourd'hui ({detail}). Renouvelez-le, et vérifiez l'horloge de sa machine.",
    ),
    "tls_other_key": Remedy(
        "The store shows another key than the one that was pinned. If its certificate was renewed, enter the new pin.",
        "La boutique présente une autre clé que celle épinglée. Si son certificat a été renouvelé, saisissez la nouvelle empreinte.",
    ),
    "tls_not_spoken": Remedy(
        "What answers there does not speak TLS. Enter the address with http://, or the port of https.",
        "Ce qui répond à cette adresse ne parle pas TLS. Saisissez l'adresse avec http://, ou le port de https.",
    ),
    "tls_too_old": Remedy(
        "The store's web server speaks only versions of TLS that are no longer safe. Have TLS 1.2 or later switched on.",
        "Le serveur web de la boutique ne parle que des versions de TLS qui ne sont plus sûres. Faites activer TLS 1.2 ou plus récent.",
    ),
    "store_closed_early": Remedy(
        "The store closes the connection without a whole answer. Check that the port is its web server's, and look at that server's error log.",
        "La boutique ferme la connexion sans réponse complète. Vérifiez que le port est celui de son serveur web, et consultez le journal d'erreurs de celui-ci.",
    ),
    "store_bad_answer": Remedy(
        "What answers there does not speak plain HTTP ({detail}). Check the address and the port.",
        "Ce qui répond à cette adresse ne parle pas un HTTP correct ({detail}). Vérifiez l'adresse et le port.",
    ),
    "store_busy": Remedy(
        "The store has as many requests under way as the connection allows. Try again in a minute.",
        "La boutique traite déjà autant de requêtes que la connexion le permet. Réessayez dans une minute.",
    ),
    "account_busy": Remedy(
        "Your account has as many requests under way as it may. Try again in a minute.",
        "Votre compte a déjà autant de requêtes en cours que permis. Réessayez dans une minute.",
    ),
    "relay_overloaded": Remedy(
        "The relay is at its limits. Try again in a minute.",
        "Le relais est à ses limites. Réessayez dans une minute.",
    ),
    "relay_fault": Remedy(
        "Something went wrong in the relay itself. Try again; if it stays so, tell whoever runs the relay.",
        "Une erreur s'est produite dans le relais lui-même. Réessayez ; si cela dure, prévenez la personne qui gère le relais.",
    ),
}  # fmt: skip
_ADDRESS = {
    "https_needed": Remedy(
        "This port wants a secure connection. Enter the store's URL with https://.",
        "Ce port demande une connexion sécurisée. Saisissez l'URL de la boutique avec https://.",
    ),
    "host_not_owned": Remedy(
        "Your shop says that its name is {detail}. Enter that as the store's URL, or mend the shop's URL settings. "
        "An agent must then publish the shop under that name: --store {detail}=ADDRESS:PORT.",
        "Votre boutique dit s'appeler {detail}. Saisissez ce nom comme URL de la boutique, ou corrigez ses réglages d'URL. "
        "L'agent doit alors la publier sous ce nom : --store {detail}=ADRESSE:PORT.",
    ),
    "store_redirects": Remedy(
        "The shop sends us on to {detail}. If that is your shop, enter that address instead.",
        "La boutique nous renvoie vers {detail}. Si c'est bien votre boutique, saisissez cette adresse à la place.",
    ),
    "rewriting_off": Remedy(
        "The address /api is not switched on in your web server. Save Shop Parameters → Traffic & SEO once; on nginx add the rule for /api.",
        "L'adresse /api n'est pas active sur votre serveur web. Enregistrez une fois Paramètres de la boutique → Trafic et SEO ; sur nginx, ajoutez la règle pour /api.",
    ),
    "api_not_found": Remedy(
        "There is no PrestaShop webservice at this address. Check the folder in the store's URL, and save Shop Parameters → Traffic & SEO once.",
        "Aucun webservice PrestaShop à cette adresse. Vérifiez le dossier dans l'URL de la boutique, et enregistrez une fois Paramètres de la boutique → Trafic et SEO.",
    ),
    "front_page": Remedy(
        "Web pages answer instead of the webservice. Check the store's URL, and save Shop Parameters → Traffic & SEO once; on nginx add the rule for /api.",
        "Des pages web répondent à la place du webservice. Vérifiez l'URL de la boutique, et enregistrez une fois Paramètres de la boutique → Trafic et SEO ; sur nginx, ajoutez la règle pour /api.",
    ),
    "maintenance": Remedy(
        "The shop's maintenance page answers instead of its webservice. Save Shop Parameters → Traffic & SEO once, or end the maintenance.",
        "La page de maintenance répond à la place du webservice. Enregistrez une fois Paramètres de la boutique → Trafic et SEO, ou mettez fin à la maintenance.",
    ),
    "site_password": Remedy(
        "The site asks for a password before it opens. Exempt /api from it.",
        "Le site demande un mot de passe avant de s'ouvrir. Exemptez /api de cette protection.",
    ),
    "challenge_page": Remedy(
        "A service in front of the shop asks our program to prove that it is human. Exempt /api, or let an agent call the shop's inner address.",
        "Un service placé devant la boutique demande à notre programme de prouver qu'il est humain. Exemptez /api, ou laissez un agent appeler l'adresse interne.",
    ),
    "firewall_blocks": Remedy(
        "A firewall of the web server blocks this request ({detail}). Ask the host to exempt /api.",
        "Un pare-feu du serveur web bloque cette requête ({detail}). Demandez à l'hébergeur d'exempter /api.",
    ),
    "rate_limited": Remedy(
        "The host limits the number of requests. Ask it to raise the limit for our address, or for the agent's.",
        "L'hébergeur limite le nombre de requêtes. Demandez-lui de relever la limite pour notre adresse, ou celle de l'agent.",
    ),
    "store_proxy_failed": Remedy(
        "A proxy in front of the shop got no answer from it ({detail}). Look at the shop's load and its error log.",
        "Un proxy devant la boutique n'a pas obtenu de réponse ({detail}). Vérifiez la charge de la boutique et son journal d'erreurs.",
    ),
    "web_server_failed": Remedy(
        "The shop's web server failed before PrestaShop was asked ({detail}). Look at its error log; a line of .htaccess may be to blame.",
        "Le serveur web de la boutique a échoué avant d'interroger PrestaShop ({detail}). Consultez son journal d'erreurs ; une ligne de .htaccess peut être en cause.",
    ),
}  # fmt: skip
_WEBSERVICE = {
    "webservice_off": Remedy(
        "The webservice is switched off. Switch it on under Advanced Parameters → Webservice.",
        "Le webservice est désactivé. Activez-le sous Paramètres avancés → Webservice.",
    ),
    "php_error": Remedy(
        "A programming fault broke the answer ({detail}). Update or switch off that module, or use a PHP version that your PrestaShop supports.",
        "Une erreur de programmation a interrompu la réponse ({detail}). Mettez à jour ou désactivez ce module, ou utilisez une version de PHP prise en charge par votre PrestaShop.",
    ),
    "php_fatal": Remedy(
        "The shop's PHP gave up ({detail}). Have the host raise memory_limit and max_execution_time, and show its error log to the shop's developer.",
        "Le PHP de la boutique s'est arrêté ({detail}). Faites augmenter memory_limit et max_execution_time par l'hébergeur, et montrez le journal d'erreurs au développeur de la boutique.",
    ),
    "store_noise": Remedy(
        "Something adds text to the shop's answers ({detail}). Switch off debug mode under Advanced Parameters → Performance, or exempt /api in the module that adds it.",
        "Quelque chose ajoute du texte aux réponses de la boutique ({detail}). Désactivez le mode debug sous Paramètres avancés → Performances, ou exemptez /api dans le module concerné.",
    ),
    "store_not_xml": Remedy(
        "The answer is no XML that can be read ({detail}). A module may damage it; look at the shop's error log.",
        "La réponse n'est pas un XML lisible ({detail}). Un module l'abîme peut-être ; consultez le journal d'erreurs de la boutique.",
    ),
    "authorization_stripped": Remedy(
        "Your web server removes the key before PrestaShop sees it. Switch on Enable CGI mode for PHP (Advanced Parameters → Webservice), then save Shop Parameters → Traffic & SEO once; "
        "or allow this connection to send the key in the address (key_place: ws_key).",
        "Votre serveur web retire la clé avant que PrestaShop ne la voie. Activez le mode CGI pour PHP (Paramètres avancés → Webservice), puis enregistrez une fois Paramètres de la boutique → Trafic et SEO ; "
        "ou autorisez cette connexion à envoyer la clé dans l'adresse (key_place : ws_key).",
    ),
    "key_not_seen": Remedy(
        "The shop saw no key, however it was sent. A proxy or firewall in front of it takes it away: exempt /api.",
        "La boutique n'a vu aucune clé, quelle que soit la façon de l'envoyer. Un proxy ou un pare-feu la retire : exemptez /api.",
    ),
    "key_malformed": Remedy(
        "The key is not complete: it has 32 characters. Copy it again. If the site asks for a password before it opens, exempt /api.",
        "La clé n'est pas complète : elle a 32 caractères. Copiez-la de nouveau. Si le site demande un mot de passe avant de s'ouvrir, exemptez /api.",
    ),
    "key_unknown": Remedy(
        "PrestaShop does not know this key, or it is switched off. Compare it, and set its Status to enabled.",
        "PrestaShop ne connaît pas cette clé, ou elle est désactivée. Comparez-la, et activez son statut.",
    ),
    "key_refused": Remedy(
        "PrestaShop refuses the key without saying why. Compare it, set its Status to enabled, and tick its permissions.",
        "PrestaShop refuse la clé sans dire pourquoi. Comparez-la, activez son statut et cochez ses permissions.",
    ),
    "key_of_no_shop": Remedy(
        "The key belongs to no shop, or to another one of this installation. Edit the key and tick this shop.",
        "La clé n'est liée à aucune boutique, ou à une autre de cette installation. Modifiez-la et cochez cette boutique.",
    ),
    "key_class_missing": Remedy(
        "The key was made by a module that is gone. Make a new key.",
        "La clé a été créée par un module disparu. Créez une nouvelle clé.",
    ),
    "key_without_permissions": Remedy(
        "The key is right but may do nothing. Open it under Advanced Parameters → Webservice and tick its permissions.",
        "La clé est bonne mais n'a aucun droit. Ouvrez-la sous Paramètres avancés → Webservice et cochez ses permissions.",
    ),
}  # fmt: skip
REMEDIES = {**_WAY, **_ADDRESS, **_WEBSERVICE}
NOTES = {
    "byte_order_mark": Remedy(
        "A file of the shop or of a module begins with a byte order mark, which stands before the answers. Save that file without it: some programs cannot read such answers.",
        "Un fichier de la boutique ou d'un module commence par une marque d'ordre (BOM), qui précède les réponses. Enregistrez ce fichier sans elle : certains programmes ne lisent pas de telles réponses.",
    ),
    "blank_before_xml": Remedy(
        "A file of the shop or of a module prints a stray blank line before the answers. Some programs cannot read such answers.",
        "Un fichier de la boutique ou d'un module affiche une ligne vide avant les réponses. Certains programmes ne lisent pas de telles réponses.",
    ),
    "filters_blocked": Remedy(
        "A firewall of the web server blocks addresses with brackets ({detail}), which filters need. Ask the host to exempt /api.",
        "Un pare-feu du serveur web bloque les adresses avec des crochets ({detail}), nécessaires aux filtres. Demandez à l'hébergeur d'exempter /api.",
    ),
    "json_fails": Remedy(
        "The shop answers in XML, but not in JSON ({detail}). Use XML, or look at the shop's error log.",
        "La boutique répond en XML, mais pas en JSON ({detail}). Utilisez le XML, ou consultez le journal d'erreurs de la boutique.",
    ),
}  # fmt: skip
"""Things to know about a store that passed."""


def remedy(code: str, detail: str = "") -> Remedy:
    """The sentence for a trouble; the one for everything else where there is none."""
    return REMEDIES.get(code, UNVERIFIED).about(detail)


def note_remedy(code: str, detail: str = "") -> Remedy:
    return NOTES[code].about(detail)
