"""The steps of the walkthrough in the words of python-pachyderm 7."""

from python_pachyderm import Client
from python_pachyderm.errors import AuthServiceNotActivated
from python_pachyderm.proto.v2.auth import auth_pb2 as auth
from python_pachyderm.proto.v2.auth import auth_pb2_grpc as auth_grpc
from python_pachyderm.proto.v2.enterprise import enterprise_pb2 as enterprise
from python_pachyderm.proto.v2.license import license_pb2 as license_v2
from python_pachyderm.proto.v2.license import license_pb2_grpc as license_grpc


CLUSTER = auth.Resource(type=auth.CLUSTER)


class Es:
    def __init__(self, address, token=None):
        self.client = Client.new_from_pachd_address(address, auth_token=token)
        # Neither Heartbeat nor the license's own GetActivationCode has a wrapper.
        self.license = license_grpc.APIStub(self.client._channel)
        # Nor have some methods of auth.
        self.auth = auth_grpc.APIStub(self.client._channel)

    def activate(self, code):
        return self.client.activate_license(code).expires.seconds

    def license_state(self):
        answer = self.license.GetActivationCode(license_v2.GetActivationCodeRequest())
        return enterprise.State.Name(answer.state)

    def add_cluster(self, id, address, user_address=None, enterprise_server=False):
        answer = self.client.add_cluster(
            id, address, user_address=user_address, enterprise_server=enterprise_server
        )
        return answer.secret

    def beat(self, id, secret, version):
        request = license_v2.HeartbeatRequest(
            id=id, secret=secret, version=version, auth_enabled=True, client_id=id
        )
        return self.license.Heartbeat(request).license.activation_code

    def update(self, id, address):
        self.client.update_cluster(id, address)

    def delete(self, id):
        self.client.delete_cluster(id)

    def clusters(self):
        return {row.id: row.address for row in self.client.list_clusters()}

    def version_of(self, id):
        return next(row.version for row in self.client.list_clusters() if row.id == id)

    def user_clusters(self):
        return [row.id for row in self.client.list_user_clusters()]

    def join(self, server, id, secret):
        self.client.activate_enterprise(server, id, secret)

    def standing(self):
        return enterprise.State.Name(self.client.get_enterprise_state().state)

    def standing_code(self):
        return self.client.get_activation_code().activation_code

    def leave(self):
        self.client.deactivate_enterprise()

    def auth_is_off(self):
        try:
            self.client.deactivate_auth()
        except AuthServiceNotActivated:
            return True
        return False

    def deployment_id(self):
        return self.client.inspect_cluster().deployment_id

    def server_version(self):
        version = self.client.get_remote_version()
        return f"{version.major}.{version.minor}.{version.micro}"

    def healthy(self):
        return self.client.health_check().status == 1

    def delete_all(self):
        self.client.delete_all_license()

    def activate_auth(self, root_token=None):
        return self.client.activate_auth(root_token)

    def deactivate_auth(self):
        self.client.deactivate_auth()

    def who(self):
        return self.client.who_am_i().username

    def ends(self):
        answer = self.client.who_am_i()
        return answer.expiration.seconds if answer.HasField("expiration") else None

    def robot_token(self, robot, ttl=None):
        return self.client.get_robot_token(robot, ttl)

    def bind(self, principal, roles):
        self.client.modify_role_binding(CLUSTER, principal, roles)

    def binding(self):
        entries = self.client.get_role_binding(CLUSTER)
        return {name: sorted(roles.roles) for name, roles in entries.items()}

    def may_list_clusters(self):
        asked = [auth.CLUSTER_LICENSE_LIST_CLUSTERS]
        return self.client.authorize(CLUSTER, asked).authorized

    def modify_members(self, group, add, remove):
        self.client.modify_members(group, add, remove)

    def set_groups(self, user, groups):
        self.client.set_groups_for_user(user, groups)

    def groups(self):
        return list(self.client.get_groups())

    def users(self, group):
        return list(self.client.get_users(group))

    def revoke(self, token):
        self.client.revoke_auth_token(token)

    def revoke_all_of(self, user):
        return self.auth.RevokeAuthTokensForUser(
            auth.RevokeAuthTokensForUserRequest(username=user)
        ).number

    def extract(self):
        return list(self.auth.ExtractAuthTokens(auth.ExtractAuthTokensRequest()).tokens)

    def restore(self, row):
        self.auth.RestoreAuthToken(auth.RestoreAuthTokenRequest(token=row))

    def delete_expired(self):
        self.auth.DeleteExpiredAuthTokens(auth.DeleteExpiredAuthTokensRequest())

    def rotate_root(self):
        return self.auth.RotateRootToken(auth.RotateRootTokenRequest()).root_token
