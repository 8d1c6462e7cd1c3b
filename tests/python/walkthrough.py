"""The enterprise server's set-up with a published client: walkthrough.py CLIENT PATH-OF-MUSTER

Every step goes to another replica than the one before it; in the middle the leader is killed.
"""

import sys

import grpc

from replicas import Group, until

FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
SELF = "grpc://localhost:1653"
MEMBER = "grpc://member:30650"


def adapter(client):
    if client.startswith("python-pachyderm"):
        from with_python_pachyderm import Es
    else:
        from with_pachyderm_sdk import Es
    return Es


class Walk:
    def __init__(self, group, es):
        self.group = group
        self.es = es
        self.turn = 0

    def next(self):
        """A fresh client of the next replica that runs."""
        running = self.group.running()
        self.turn += 1
        return self.es(self.group.address(running[self.turn % len(running)]))

    def retried(self, what, call):
        """Calls until the group has a leader again; any other error is one."""

        def attempt():
            try:
                return [call(self.next())]
            except ConnectionError:
                return None
            except grpc.RpcError as error:
                if error.code() != UNAVAILABLE:
                    raise
                return None

        return until(what, attempt)[0]


def refused(call, code, text):
    """`call` must fail with this code and a message that contains the text."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()}: {error.details()}"
        assert text in error.details(), error.details()
        return
    raise AssertionError(f"was not refused with {text!r}")


def walk(group, es):
    walk = Walk(group, es)
    code = group.license()

    assert walk.next().license_state() == "NONE"
    invalid = "error validating activation code: activation code is not base64 encoded"
    refused(lambda: walk.next().activate("not a code"), INVALID_ARGUMENT, invalid)
    refused(
        lambda: walk.next().add_cluster("early", MEMBER),
        FAILED_PRECONDITION,
        "enterprise license is not valid - NONE",
    )
    assert walk.next().activate(code) > 4_000_000_000
    assert walk.next().license_state() == "ACTIVE"

    # The server becomes a member of itself, as `license activate` of pachctl does it.
    secret = walk.next().add_cluster("localhost", SELF, enterprise_server=True)
    assert len(secret) >= 30, secret
    walk.next().join(SELF, "localhost", secret)
    assert walk.next().standing() == "ACTIVE"
    assert walk.next().standing_code() == code

    # Auth is off: whoever asks gets the error that every client knows.
    assert walk.next().auth_is_off()

    secret = walk.next().add_cluster("pach-1", MEMBER, user_address=MEMBER)
    assert walk.next().beat("pach-1", secret, "2.11.6") == code
    refused(
        lambda: walk.next().add_cluster("pach-1", MEMBER), UNIMPLEMENTED, "cluster ID is not unique"
    )
    refused(
        lambda: walk.next().beat("pach-1", "wrong", "2.11.6"),
        UNIMPLEMENTED,
        "cluster ID or secret is not valid",
    )

    leader = group.leader()
    group.kill(leader)
    listed = walk.retried("a list after the leader's death", lambda es: es.clusters())
    assert listed == {"localhost": SELF, "pach-1": MEMBER}, listed
    again = walk.retried("a heartbeat", lambda es: es.beat("pach-1", secret, "2.11.7"))
    assert again == code
    walk.next().update("pach-1", "grpc://moved:30650")
    assert walk.next().clusters()["pach-1"] == "grpc://moved:30650"
    group.restart(leader)

    back = es(group.address(leader))
    assert back.clusters()["pach-1"] == "grpc://moved:30650"
    assert back.version_of("pach-1") == "2.11.7"
    assert walk.next().user_clusters() == ["pach-1"]
    assert {walk.next().deployment_id() for _ in range(3)} == {"three-replicas"}
    assert {walk.next().server_version() for _ in range(3)} == {"2.11.6"}
    until("health on every replica", lambda: all(walk.next().healthy() for _ in range(3)))

    walk.next().delete("pach-1")
    refused(
        lambda: walk.next().beat("pach-1", secret, "2.11.6"),
        UNIMPLEMENTED,
        "cluster ID or secret is not valid",
    )
    walk.next().leave()
    assert walk.next().standing() == "NONE"
    walk.next().delete_all()
    assert walk.next().clusters() == {}
    assert walk.next().license_state() == "NONE"


def main():
    client, muster = sys.argv[1:]
    with Group(muster) as group:
        walk(group, adapter(client))
    print(f"{client}: the whole walkthrough on three replicas, one leader killed: ok")


if __name__ == "__main__":
    main()
