"""Drives google-cloud-container against a server: create, get, list, update, labels, operations, delete, errors.

Arguments: TRANSPORT (rest or grpc), ENDPOINT (host:port), CA file, CREDENTIALS (token=FILE or key=FILE), PROJECT, NAME.
Prints one line for each step that held; a step that does not hold ends with a traceback.
"""

import sys

import grpc
from google.api_core import exceptions
from google.cloud import container_v1
from google.cloud.container_v1.services.cluster_manager.transports import ClusterManagerGrpcTransport
from google.oauth2 import credentials as token_credentials
from google.oauth2 import service_account

LOCATION = "us-central1"
STATE = container_v1.DatabaseEncryption.State
DONE = container_v1.Operation.Status.DONE


def main() -> None:
    transport, endpoint, ca, credential, project, name = sys.argv[1:7]
    client = connect(transport, endpoint, ca, credential)
    step("connect")
    parent = f"projects/{project}/locations/{LOCATION}"
    full = f"{parent}/clusters/{name}"
    refused(exceptions.NotFound, lambda: client.get_cluster(name=full))
    step("NotFound")
    pool = container_v1.NodePool(name="default-pool", initial_node_count=3)
    begun = client.create_cluster(parent=parent, cluster={"name": name, "node_pools": [pool]})
    assert begun.status == container_v1.Operation.Status.RUNNING, begun
    assert begun.operation_type == container_v1.Operation.Type.CREATE_CLUSTER, begun
    step("create_cluster")
    refused(exceptions.AlreadyExists, lambda: client.create_cluster(parent=parent, cluster={"name": name}))
    step("AlreadyExists")
    cluster = client.get_cluster(name=full)
    assert cluster.status == container_v1.Cluster.Status.PROVISIONING, cluster
    assert cluster.database_encryption.state == STATE.DECRYPTED, cluster
    assert [it.initial_node_count for it in cluster.node_pools] == [3], cluster
    step("get_cluster")
    for where in [parent, f"projects/{project}/locations/-"]:
        assert full.endswith(name) and name in [it.name for it in client.list_clusters(parent=where).clusters]
    step("list_clusters")
    update = {"desired_database_encryption": {"state": STATE.DECRYPTED}}
    error = refused(exceptions.FailedPrecondition, lambda: client.update_cluster(name=full, update=update))
    assert begun.name in str(error), error
    refused(exceptions.FailedPrecondition, lambda: client.delete_cluster(name=full))
    labels = container_v1.SetLabelsRequest(name=full, resource_labels={"a": "b"})
    refused(exceptions.FailedPrecondition, lambda: client.set_labels(request=labels))
    step("update_cluster, delete_cluster, set_labels")
    elsewhere = "projects/key-project/locations/global/keyRings/r/cryptoKeys/k"
    wrong = {"name": "other", "database_encryption": {"key_name": elsewhere, "state": STATE.ENCRYPTED}}
    refused(exceptions.InvalidArgument, lambda: client.create_cluster(parent=parent, cluster=wrong))
    step("InvalidArgument")
    # Over REST an unserved field is HTTP 400 with the name of the status in the body.
    sneaked = {"desired_database_encryption": {"state": STATE.DECRYPTED}, "desired_binary_authorization": {"evaluation_mode": 2}}
    kind = exceptions.MethodNotImplemented if transport == "grpc" else exceptions.BadRequest
    error = refused(kind, lambda: client.update_cluster(name=full, update=sneaked))
    assert "update.desired_binary_authorization" in str(error), error
    for field in ["network_policy", "binary_authorization", "confidential_nodes", "workload_identity_config"]:
        asked = {"workload_pool": "p"} if field == "workload_identity_config" else {"enabled": True}
        unserved = {"name": "other", field: asked}
        error = refused(kind, lambda unserved=unserved: client.create_cluster(parent=parent, cluster=unserved))
        assert field in str(error), error
    step("Unimplemented")
    operation = f"{parent}/operations/{begun.name}"
    assert client.get_operation(name=operation).status == container_v1.Operation.Status.RUNNING
    assert begun.name in [it.name for it in client.list_operations(parent=parent).operations]
    client.cancel_operation(name=operation)
    ended = client.get_operation(name=operation)
    assert ended.status == DONE and ended.error.code == 1 and "cancelled by" in ended.status_message, ended
    refused(exceptions.NotFound, lambda: client.get_cluster(name=full))
    step("get_operation, list_operations, cancel_operation")
    config = client.get_server_config(name=parent)
    assert config.default_cluster_version == "latest", config
    step("get_server_config")
    refused(exceptions.PermissionDenied, lambda: client.list_clusters(parent="projects/somebody-elses/locations/-"))
    step("PermissionDenied")


def connect(transport, endpoint, ca, credential):
    kind, path = credential.split("=", 1)
    if kind == "token":
        with open(path, encoding="utf-8") as file:
            credentials = token_credentials.Credentials(file.read().strip())
    else:
        credentials = service_account.Credentials.from_service_account_file(path)
    if transport == "rest":
        # The library reads the certificate authority from REQUESTS_CA_BUNDLE.
        return container_v1.ClusterManagerClient(
            transport="rest", credentials=credentials, client_options={"api_endpoint": f"https://{endpoint}"}
        )
    with open(ca, "rb") as file:
        root = file.read()
    made = ClusterManagerGrpcTransport(
        host=endpoint, credentials=credentials, ssl_channel_credentials=grpc.ssl_channel_credentials(root)
    )
    return container_v1.ClusterManagerClient(transport=made)


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    except kind.__base__ as error:
        # Over REST the library knows only the HTTP status, and raises what stands for it.
        assert type(error) is kind.__base__ and sys.argv[1] == "rest", error
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def step(name):
    print(f"ok {name}", flush=True)


if __name__ == "__main__":
    main()
