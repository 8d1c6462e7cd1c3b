"""The steps of the walkthrough in the words of pachyderm-sdk 2."""

from pachyderm_sdk import Client
from pachyderm_sdk.api import enterprise
from pachyderm_sdk.errors import AuthServiceNotActivated


class Es:
    def __init__(self, address):
        self.client = Client.from_pachd_address(address)

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
