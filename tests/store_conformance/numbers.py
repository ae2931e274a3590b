"""The numbers of the assertions, and which of them a relay in between decides itself."""

from __future__ import annotations

ALL = {*(str(number) for number in range(1, 91)), "39a"}

# number: what the relay does instead, or why the assertion is about the store alone
CHANGED_BY_A_RELAY = {
    "1": "callers without a credential are refused by the relay",
    "2": "callers without a credential are refused by the relay",
    "3": "callers without a credential are refused by the relay",
    "6": "an empty user is no access key",
    "8": "Bearer is for API tokens",
    "9": "ws_key carries an access key",
    "11": "its last part has no credential",
    "12": "its last part sends ws_key, which reaches the store only in a connection of that mode",
    "16": "its last part has no credential",
    "55": "only /api is forwarded",
    "56": "the relay has its own limit on the request line",
    "77": "the connection's domain decides",
    "78": "the connection's domain decides",
    "79": "the connection's domain decides",
    "80": "the connection's domain decides",
    "81": "forwarded headers are removed",
    "82": "the connection's domain decides",
    "83": "the key does not travel as ws_key",
    "84": "the connection's domain decides",
    "87": "only /api is forwarded",
}
