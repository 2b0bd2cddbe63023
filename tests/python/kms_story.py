"""Drives google-cloud-kms against a server: create, rotate, encrypt, decrypt, grant, list in pages, errors.

Arguments: TRANSPORT (rest or grpc), ENDPOINT (host:port), CA file, CREDENTIALS (token=FILE or key=FILE), PROJECT, RING.
Prints one line for each step that held; a step that does not hold ends with a traceback.
"""

import sys
import time

import grpc
from google.api_core import exceptions
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.oauth2 import credentials as token_credentials
from google.oauth2 import service_account
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

LOCATION = "us-central1"


def main() -> None:
    transport, endpoint, ca, credential, project, ring = sys.argv[1:7]
    client = connect(transport, endpoint, ca, credential)
    step("connect")
    parent = f"projects/{project}/locations/{LOCATION}"
    key_ring = client.create_key_ring(parent=parent, key_ring_id=ring, key_ring={})
    assert key_ring.name == f"{parent}/keyRings/{ring}", key_ring
    step("create_key_ring")
    refused(exceptions.AlreadyExists, lambda: client.create_key_ring(parent=parent, key_ring_id=ring, key_ring={}))
    step("AlreadyExists")
    refused(exceptions.NotFound, lambda: client.get_crypto_key(name=f"{key_ring.name}/cryptoKeys/absent"))
    step("NotFound")
    key = client.create_crypto_key(
        parent=key_ring.name,
        crypto_key_id="key",
        crypto_key={
            "purpose": kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT,
            "labels": {"team": "payments"},
            "rotation_period": duration_pb2.Duration(seconds=86400 * 30),
            "next_rotation_time": timestamp_pb2.Timestamp(seconds=int(time.time()) + 86400 * 30),
        },
    )
    assert key.primary.state == kms_v1.CryptoKeyVersion.CryptoKeyVersionState.ENABLED, key
    assert key.rotation_period.days == 30, key
    step("create_crypto_key")
    encrypt_and_decrypt(client, key.name)
    rotate(client, key.name)
    policy(client, key.name)
    lists(client, key_ring.name)
    states(client, key.name)


def connect(transport, endpoint, ca, credential):
    kind, path = credential.split("=", 1)
    if kind == "token":
        with open(path, encoding="utf-8") as file:
            credentials = token_credentials.Credentials(file.read().strip())
    else:
        credentials = service_account.Credentials.from_service_account_file(path)
    if transport == "rest":
        # The library reads the certificate authority from REQUESTS_CA_BUNDLE.
        return kms_v1.KeyManagementServiceClient(
            transport="rest", credentials=credentials, client_options={"api_endpoint": f"https://{endpoint}"}
        )
    with open(ca, "rb") as file:
        root = file.read()
    channel_credentials = grpc.ssl_channel_credentials(root)
    made = KeyManagementServiceGrpcTransport(
        host=endpoint, credentials=credentials, ssl_channel_credentials=channel_credentials
    )
    return kms_v1.KeyManagementServiceClient(transport=made)


def encrypt_and_decrypt(client, name):
    for plaintext in [b"", b"\xff\xfe??>>", bytes(range(256)) * 256]:
        request = {
            "name": name,
            "plaintext": plaintext,
            "plaintext_crc32c": crc32c(plaintext),
            "additional_authenticated_data": b"aad",
            "additional_authenticated_data_crc32c": crc32c(b"aad"),
        }
        sealed = client.encrypt(request=request)
        assert sealed.verified_plaintext_crc32c and sealed.verified_additional_authenticated_data_crc32c
        assert sealed.ciphertext_crc32c == crc32c(sealed.ciphertext)
        assert sealed.name == f"{name}/cryptoKeyVersions/1", sealed.name
        opened = client.decrypt(
            request={
                "name": name,
                "ciphertext": sealed.ciphertext,
                "ciphertext_crc32c": crc32c(sealed.ciphertext),
                "additional_authenticated_data": b"aad",
            }
        )
        assert opened.plaintext == plaintext and opened.used_primary
        assert opened.plaintext_crc32c == crc32c(plaintext)
    step("encrypt, decrypt")
    wrong = {"name": name, "plaintext": b"x", "plaintext_crc32c": 1}
    error = refused(exceptions.InvalidArgument, lambda: client.encrypt(request=wrong))
    text = "The checksum in field plaintext_crc32c did not match the data in field plaintext."
    assert text in str(error), error
    refused(exceptions.InvalidArgument, lambda: client.encrypt(request={"name": name, "plaintext": b"x" * 65537}))
    refused(exceptions.InvalidArgument, lambda: client.decrypt(request={"name": name, "ciphertext": b"garbage"}))
    step("InvalidArgument")


def rotate(client, name):
    old = client.encrypt(request={"name": name, "plaintext": b"before"})
    version = client.create_crypto_key_version(parent=name, crypto_key_version={})
    assert version.name == f"{name}/cryptoKeyVersions/2", version
    key = client.update_crypto_key_primary_version(name=name, crypto_key_version_id="2")
    assert key.primary.name == version.name, key
    assert client.encrypt(request={"name": name, "plaintext": b"after"}).name == version.name
    opened = client.decrypt(request={"name": name, "ciphertext": old.ciphertext})
    assert opened.plaintext == b"before" and not opened.used_primary
    step("rotate")
    mask = field_mask_pb2.FieldMask(paths=["labels"])
    changed = client.update_crypto_key(crypto_key={"name": name, "labels": {"team": "ledger"}}, update_mask=mask)
    assert dict(changed.labels) == {"team": "ledger"} and changed.rotation_period.days == 30, changed
    step("update_crypto_key")


def policy(client, name):
    read = client.get_iam_policy(request=iam_policy_pb2.GetIamPolicyRequest(resource=name))
    binding = policy_pb2.Binding(
        role="roles/cloudkms.cryptoKeyEncrypterDecrypter", members=["user:somebody@example.com"]
    )
    wanted = policy_pb2.Policy(bindings=[binding], etag=read.etag)
    set_request = iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=wanted)
    written = client.set_iam_policy(request=set_request)
    assert written.bindings[0].role == binding.role, written
    step("set_iam_policy")
    refused(exceptions.Aborted, lambda: client.set_iam_policy(request=set_request))
    step("Aborted")
    tested = client.test_iam_permissions(
        request=iam_policy_pb2.TestIamPermissionsRequest(
            resource=name, permissions=["cloudkms.cryptoKeys.get", "cloudkms.cryptoKeyVersions.useToDecrypt"]
        )
    )
    assert list(tested.permissions) == ["cloudkms.cryptoKeys.get", "cloudkms.cryptoKeyVersions.useToDecrypt"]
    step("test_iam_permissions")
    refused(
        exceptions.PermissionDenied,
        lambda: client.get_key_ring(name="projects/somebody-elses/locations/us-central1/keyRings/r"),
    )
    step("PermissionDenied")


def lists(client, ring):
    for number in range(5):
        client.create_crypto_key(
            request={
                "parent": ring,
                "crypto_key_id": f"listed-{number}",
                "crypto_key": {"purpose": 1},
                "skip_initial_version_creation": True,
            }
        )
    pager = client.list_crypto_keys(request={"parent": ring, "page_size": 2})
    names = [key.name.rsplit("/", 1)[1] for key in pager]
    assert names == ["key", *(f"listed-{number}" for number in range(5))], names
    filtered = client.list_crypto_keys(request={"parent": ring, "filter": "labels.team=ledger"})
    assert [key.name for key in filtered] == [f"{ring}/cryptoKeys/key"]
    step("list in pages")


def states(client, name):
    version = f"{name}/cryptoKeyVersions/2"
    state = kms_v1.CryptoKeyVersion.CryptoKeyVersionState
    mask = field_mask_pb2.FieldMask(paths=["state"])
    disabled = client.update_crypto_key_version(
        crypto_key_version={"name": version, "state": state.DISABLED}, update_mask=mask
    )
    assert disabled.state == state.DISABLED
    error = refused(exceptions.FailedPrecondition, lambda: client.encrypt(request={"name": name, "plaintext": b"x"}))
    assert f"{version} is not enabled, current state is: DISABLED." in str(error), error
    step("FailedPrecondition")
    client.update_crypto_key_version(crypto_key_version={"name": version, "state": state.ENABLED}, update_mask=mask)
    unused = client.create_crypto_key_version(parent=name, crypto_key_version={})
    scheduled = client.destroy_crypto_key_version(name=unused.name)
    assert scheduled.state == state.DESTROY_SCHEDULED and scheduled.destroy_time is not None
    assert client.restore_crypto_key_version(name=unused.name).state == state.DISABLED
    step("destroy, restore")
    parent = name.split("/keyRings/", 1)[0]
    random = client.generate_random_bytes(
        request={"location": parent, "length_bytes": 32, "protection_level": kms_v1.ProtectionLevel.SOFTWARE}
    )
    assert len(random.data) == 32 and random.data_crc32c == crc32c(random.data)
    step("generate_random_bytes")


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


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
