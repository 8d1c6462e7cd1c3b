"""The steps of the walkthrough in the words of pachyderm-sdk 2."""

from pachyderm_sdk import Client
from pachyderm_sdk.api import auth, enterprise
from pachyderm_sdk.errors import AuthServiceNotActivated


CLUSTER = auth.Resource(type=auth.ResourceType.CLUSTER)


class Es:
    def __init__(self, address, token=None):
        self.client = Client.from_pachd_address(address, auth_token=token)

    def activate(self, code):
        return self.client.license.activate(activation_code=code).info.expires.timestamp()

    def license_state(self):
        return enterprise.State(self.client.license.get_activation_code().state).name

    def add_cluster(self, id, address, user_address="", enterprise_server=False):
        answer = self.client.license.add_cluster(
            id=id, address=address, user_address=user_address, enterprise_server=enterprise_server
        )
        return answer.secret

    def beat(self, id, secret, version):
        answer = self.client.license.heartbeat(
            id=id, secret=secret, version=version, auth_enabled=True, client_id=id
        )
        return answer.license.activation_code

    def update(self, id, address):
        self.client.license.update_cluster(id=id, address=address)

    def delete(self, id):
        self.client.license.delete_cluster(id=id)

    def clusters(self):
        return {row.id: row.address for row in self.client.license.list_clusters().clusters}

    def version_of(self, id):
        rows = self.client.license.list_clusters().clusters
        return next(row.version for row in rows if row.id == id)

    def user_clusters(self):
        return [row.id for row in self.client.license.list_user_clusters().clusters]

    def join(self, server, id, secret):
        self.client.enterprise.activate(license_server=server, id=id, secret=secret)

    def standing(self):
        return enterprise.State(self.client.enterprise.get_state().state).name

    def standing_code(self):
        return self.client.enterprise.get_activation_code().activation_code

    def leave(self):
        self.client.enterprise.deactivate()

    def auth_is_off(self):
        try:
            self.client.auth.who_am_i()
        except AuthServiceNotActivated:
            return True
        return False

    def deployment_id(self):
        return self.client.admin.inspect_cluster().deployment_id

    def server_version(self):
        version = self.client.get_version()
        return f"{version.major}.{version.minor}.{version.micro}"

    def healthy(self):
        # This client has no health stub.
        return True

    def delete_all(self):
        self.client.license.delete_all()

    def activate_auth(self, root_token=""):
        return self.client.auth.activate(root_token=root_token).pach_token

    def deactivate_auth(self):
        self.client.auth.deactivate()

    def who(self):
        return self.client.auth.who_am_i().username

    def ends(self):
        end = self.client.auth.who_am_i().expiration
        # An absent time reads as the epoch.
        return end.timestamp() if end and end.timestamp() else None

    def robot_token(self, robot, ttl=0):
        return self.client.auth.get_robot_token(robot=robot, ttl=ttl).token

    def bind(self, principal, roles):
        self.client.auth.modify_role_binding(resource=CLUSTER, principal=principal, roles=roles)

    def binding(self):
        entries = self.client.auth.get_role_binding(resource=CLUSTER).binding.entries
        return {name: sorted(roles.roles) for name, roles in entries.items()}

    def may_list_clusters(self):
        asked = [auth.Permission.CLUSTER_LICENSE_LIST_CLUSTERS]
        return self.client.auth.authorize(resource=CLUSTER, permissions=asked).authorized

    def modify_members(self, group, add, remove):
        self.client.auth.modify_members(group=group, add=add, remove=remove)

    def set_groups(self, user, groups):
        self.client.auth.set_groups_for_user(username=user, groups=groups)

    def groups(self):
        return self.client.auth.get_groups().groups

    def users(self, group):
        return self.client.auth.get_users(group=group).usernames

    def revoke(self, token):
        return self.client.auth.revoke_auth_token(token=token).number

    def revoke_all_of(self, user):
        return self.client.auth.revoke_auth_tokens_for_user(username=user).number

    def extract(self):
        return self.client.auth.extract_auth_tokens().tokens

    def restore(self, row):
        # What this client reads as an end that is not there, it would send as one.
        token = auth.TokenInfo(subject=row.subject, hashed_token=row.hashed_token)
        self.client.auth.restore_auth_token(token=token)

    def delete_expired(self):
        self.client.auth.delete_expired_auth_tokens()

    def rotate_root(self):
        return self.client.auth.rotate_root_token().root_token
