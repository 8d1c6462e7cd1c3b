"""What a tool such as grpcurl asks first: reflection.py PATH-OF-MUSTER"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from replicas import Group

SERVICES = [
    "admin_v2.API",
    "auth_v2.API",
    "enterprise_v2.API",
    "grpc.health.v1.Health",
    "identity_v2.API",
    "license_v2.API",
    "versionpb_v2.API",
]
LICENSE = [
    "Activate",
    "AddCluster",
    "DeleteAll",
    "DeleteCluster",
    "GetActivationCode",
    "Heartbeat",
    "ListClusters",
    "ListUserClusters",
    "UpdateCluster",
]


def main():
    with Group(sys.argv[1], size=1) as group:
        channel = grpc.insecure_channel(f"127.0.0.1:{group.grpc[0]}")
        database = ProtoReflectionDescriptorDatabase(channel)
        served = database.get_services()
        missing = [name for name in SERVICES if name not in served]
        assert not missing, f"missing {missing} in {served}"
        api = DescriptorPool(database).FindServiceByName("license_v2.API")
        methods = sorted(method.name for method in api.methods)
        assert methods == LICENSE, methods
        channel.close()
    print("reflection: every service is listed and described: ok")


if __name__ == "__main__":
    main()
