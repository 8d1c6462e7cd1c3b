"""Auth with a published client: secured.py CLIENT PATH-OF-MUSTER

Activation, robots, roles, groups, revocation and extraction against three replicas, each call to another
replica than the one before it.
"""

import sys
import time

import grpc

from replicas import Group, until
from walkthrough import SELF, adapter

BAD_TOKEN = "provided auth token is corrupted or has expired (try logging in again)"
EXPIRED = "token expiration is in the past"
FRESH = {
    "pach:root": ["clusterAdmin"],
    "internal:auth-server": ["clusterAdmin"],
    "allClusterUsers": ["projectCreator"],
}
ROOT = "a-root-token-that-the-walk-has-chosen"


class Callers:
    """Each client is a fresh one, of the next replica."""

    def __init__(self, group, es):
        self.group = group
        self.es = es
        self.turn = 0

    def by(self, token=None):
        self.turn += 1
        return self.es(self.group.address(self.turn % self.group.size), token)


def refused(call, text, code=None):
    try:
        call()
    except grpc.RpcError as error:
        assert text in error.details(), error.details()
        assert code is None or error.code() == code, error.code()
        return
    raise AssertionError(f"was not refused with {text!r}")


def set_up(group, callers):
    """A license, and the server as a member of itself."""
    callers.by().activate(group.license())
    secret = callers.by().add_cluster("localhost", SELF, enterprise_server=True)
    callers.by().join(SELF, "localhost", secret)
    assert callers.by().auth_is_off()


def activation(callers):
    drawn = callers.by().activate_auth()
    assert len(drawn) >= 30, drawn
    assert callers.by(drawn).who() == "pach:root"
    assert callers.by(drawn).binding() == FRESH
    refused(lambda: callers.by().activate_auth(), "the auth service is already activated")
    refused(lambda: callers.by().binding(), "no authentication token (try logging in)")
    callers.by(drawn).deactivate_auth()
    assert callers.by(drawn).auth_is_off()
    assert callers.by().activate_auth(ROOT) == ROOT
    refused(lambda: callers.by(drawn).who(), BAD_TOKEN, grpc.StatusCode.UNAUTHENTICATED)
    assert callers.by(ROOT).who() == "pach:root"


def robots(callers):
    """The tokens of two robots, one of them twice."""
    tokens = [callers.by(ROOT).robot_token(name) for name in ("a", "a", "b")]
    assert [callers.by(token).who() for token in tokens] == ["robot:a", "robot:a", "robot:b"]
    assert callers.by(tokens[0]).ends() is None
    ending = callers.by(ROOT).robot_token("c", ttl=600)
    assert time.time() < callers.by(ending).ends() <= time.time() + 600
    refused(
        lambda: callers.by(tokens[0]).robot_token("d"),
        "needs permissions [CLUSTER_AUTH_GET_ROBOT_TOKEN] on CLUSTER",
        grpc.StatusCode.PERMISSION_DENIED,
    )
    return tokens


def roles(callers, robot):
    assert not callers.by(robot).may_list_clusters()
    refused(lambda: callers.by(robot).clusters(), "[CLUSTER_LICENSE_LIST_CLUSTERS] on CLUSTER")
    callers.by(ROOT).bind("robot:a", ["licenseAdmin"])
    assert callers.by(robot).may_list_clusters()
    assert callers.by(robot).clusters() == {"localhost": SELF}
    assert callers.by(robot).binding()["robot:a"] == ["licenseAdmin"]
    callers.by(ROOT).bind("robot:a", [])
    assert not callers.by(robot).may_list_clusters()
    assert callers.by(ROOT).binding() == FRESH
    refused(lambda: callers.by(ROOT).bind("pach:root", []), "cannot modify cluster role bindings")


def groups(callers, robot):
    callers.by(ROOT).bind("group:g", ["licenseAdmin"])
    callers.by(ROOT).modify_members("group:g", add=["robot:a", "robot:b"], remove=[])
    assert callers.by(ROOT).users("group:g") == ["robot:a", "robot:b"]
    assert callers.by(robot).groups() == ["group:g"]
    assert callers.by(robot).may_list_clusters()
    callers.by(ROOT).set_groups("robot:a", ["group:other"])
    assert callers.by(robot).groups() == ["group:other"]
    assert not callers.by(robot).may_list_clusters()
    assert callers.by(ROOT).users("group:g") == ["robot:b"]


def revocation(callers, one, other, spared):
    callers.by(ROOT).revoke(one)
    refused(lambda: callers.by(one).who(), BAD_TOKEN, grpc.StatusCode.UNAUTHENTICATED)
    assert callers.by(other).who() == "robot:a"
    assert callers.by(ROOT).revoke_all_of("robot:a") == 1
    refused(lambda: callers.by(other).who(), BAD_TOKEN)
    assert callers.by(spared).who() == "robot:b"
    refused(lambda: callers.by(ROOT).revoke_all_of("pach:root"), "cannot revoke tokens for pach:")


def extraction(callers, kept):
    refused(lambda: callers.by(kept).extract(), "[CLUSTER_AUTH_EXTRACT_TOKENS]")
    found = callers.by(ROOT).extract()
    assert [row.subject for row in found] == ["robot:b", "robot:c"], found
    callers.by(ROOT).revoke(kept)
    refused(lambda: callers.by(kept).who(), BAD_TOKEN)
    callers.by(ROOT).restore(found[0])
    assert callers.by(kept).who() == "robot:b"
    refused(lambda: callers.by(ROOT).restore(found[0]), "cannot overwrite existing token")


def endings(callers):
    short = callers.by(ROOT).robot_token("short", ttl=1)

    def expired():
        try:
            callers.by(short).who()
        except grpc.RpcError as error:
            return EXPIRED in error.details()
        return False

    until("the short token to expire", expired)
    callers.by(ROOT).delete_expired()
    refused(lambda: callers.by(short).who(), BAD_TOKEN)
    rotated = callers.by(ROOT).rotate_root()
    refused(lambda: callers.by(ROOT).who(), BAD_TOKEN)
    assert callers.by(rotated).who() == "pach:root"
    callers.by(rotated).deactivate_auth()
    assert callers.by(rotated).auth_is_off()


def main():
    client, muster = sys.argv[1:]
    with Group(muster) as group:
        callers = Callers(group, adapter(client))
        set_up(group, callers)
        activation(callers)
        one, other, kept = robots(callers)
        roles(callers, one)
        groups(callers, one)
        revocation(callers, one, other, kept)
        extraction(callers, kept)
        endings(callers)
    print(f"{client}: auth on three replicas, each call to another one: ok")


if __name__ == "__main__":
    main()
