package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// keys tells of Cloud KMS: create, rotate, encrypt, decrypt, grant, list in pages, errors.
func keys(ctx context.Context, transport string, options []option.ClientOption, project, ring string) error {
	connect := kms.NewKeyManagementClient
	if transport == "rest" {
		connect = kms.NewKeyManagementRESTClient
	}
	client, err := connect(ctx, options...)
	if err != nil {
		return err
	}
	defer client.Close()
	parent := fmt.Sprintf("projects/%s/locations/%s", project, location)
	createRing := &kmspb.CreateKeyRingRequest{Parent: parent, KeyRingId: ring, KeyRing: &kmspb.KeyRing{}}
	keyRing, err := client.CreateKeyRing(ctx, createRing)
	if err != nil {
		return fmt.Errorf("CreateKeyRing: %w", err)
	}
	step("CreateKeyRing")
	_, err = client.CreateKeyRing(ctx, createRing)
	if err := refused(codes.AlreadyExists, err); err != nil {
		return err
	}
	_, err = client.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: keyRing.Name + "/cryptoKeys/absent"})
	if err := refused(codes.NotFound, err); err != nil {
		return err
	}
	key, err := client.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{
		Parent:      keyRing.Name,
		CryptoKeyId: "key",
		CryptoKey:   &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT},
	})
	if err != nil {
		return fmt.Errorf("CreateCryptoKey: %w", err)
	}
	step("CreateCryptoKey")
	ciphertext, err := encryptAndDecrypt(ctx, client, key.Name)
	if err != nil {
		return err
	}
	if err := rotate(ctx, client, key.Name, ciphertext); err != nil {
		return err
	}
	if err := policy(ctx, client, key.Name); err != nil {
		return err
	}
	if err := list(ctx, client, keyRing.Name); err != nil {
		return err
	}
	return disable(ctx, client, key.Name+"/cryptoKeyVersions/2")
}

func encryptAndDecrypt(ctx context.Context, client *kms.KeyManagementClient, name string) ([]byte, error) {
	plaintext := []byte{0xff, 0xfe, '?', '?', '>', '>'}
	sealed, err := client.Encrypt(ctx, &kmspb.EncryptRequest{
		Name: name, Plaintext: plaintext, PlaintextCrc32C: wrapperspb.Int64(checksum(plaintext)),
	})
	if err != nil {
		return nil, fmt.Errorf("Encrypt: %w", err)
	}
	if !sealed.VerifiedPlaintextCrc32C || sealed.CiphertextCrc32C.GetValue() != checksum(sealed.Ciphertext) {
		return nil, fmt.Errorf("Encrypt: checksums do not hold: %v", sealed)
	}
	opened, err := client.Decrypt(ctx, &kmspb.DecryptRequest{Name: name, Ciphertext: sealed.Ciphertext})
	if err != nil {
		return nil, fmt.Errorf("Decrypt: %w", err)
	}
	if !bytes.Equal(opened.Plaintext, plaintext) || !opened.UsedPrimary {
		return nil, fmt.Errorf("Decrypt: other bytes than were encrypted")
	}
	step("Encrypt, Decrypt")
	_, err = client.Decrypt(ctx, &kmspb.DecryptRequest{Name: name, Ciphertext: []byte("garbage")})
	return sealed.Ciphertext, refused(codes.InvalidArgument, err)
}

func rotate(ctx context.Context, client *kms.KeyManagementClient, name string, ciphertext []byte) error {
	version, err := client.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{
		Parent: name, CryptoKeyVersion: &kmspb.CryptoKeyVersion{},
	})
	if err != nil {
		return fmt.Errorf("CreateCryptoKeyVersion: %w", err)
	}
	rotated, err := client.UpdateCryptoKeyPrimaryVersion(ctx, &kmspb.UpdateCryptoKeyPrimaryVersionRequest{
		Name: name, CryptoKeyVersionId: "2",
	})
	if err != nil {
		return fmt.Errorf("UpdateCryptoKeyPrimaryVersion: %w", err)
	}
	if rotated.Primary.GetName() != version.Name {
		return fmt.Errorf("the primary is %v, not %s", rotated.Primary, version.Name)
	}
	opened, err := client.Decrypt(ctx, &kmspb.DecryptRequest{Name: name, Ciphertext: ciphertext})
	if err != nil || opened.UsedPrimary {
		return fmt.Errorf("Decrypt after the rotation: %v, %w", opened.GetUsedPrimary(), err)
	}
	step("rotate")
	return nil
}

func policy(ctx context.Context, client *kms.KeyManagementClient, name string) error {
	read, err := client.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: name})
	if err != nil {
		return fmt.Errorf("GetIamPolicy: %w", err)
	}
	request := &iampb.SetIamPolicyRequest{Resource: name, Policy: &iampb.Policy{
		Etag: read.Etag,
		Bindings: []*iampb.Binding{{
			Role: "roles/cloudkms.cryptoKeyEncrypterDecrypter", Members: []string{"user:somebody@example.com"},
		}},
	}}
	if _, err := client.SetIamPolicy(ctx, request); err != nil {
		return fmt.Errorf("SetIamPolicy: %w", err)
	}
	step("SetIamPolicy")
	_, err = client.SetIamPolicy(ctx, request)
	if err := refused(codes.Aborted, err); err != nil {
		return err
	}
	elsewhere := "projects/somebody-elses/locations/" + location + "/keyRings/r"
	_, err = client.GetKeyRing(ctx, &kmspb.GetKeyRingRequest{Name: elsewhere})
	return refused(codes.PermissionDenied, err)
}

func list(ctx context.Context, client *kms.KeyManagementClient, ring string) error {
	want := []string{"key"}
	for number := range 5 {
		id := fmt.Sprintf("listed-%d", number)
		want = append(want, id)
		_, err := client.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{
			Parent:                     ring,
			CryptoKeyId:                id,
			CryptoKey:                  &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT},
			SkipInitialVersionCreation: true,
		})
		if err != nil {
			return fmt.Errorf("CreateCryptoKey %s: %w", id, err)
		}
	}
	var got []string
	keys := client.ListCryptoKeys(ctx, &kmspb.ListCryptoKeysRequest{Parent: ring, PageSize: 2})
	for {
		key, err := keys.Next()
		if err == iterator.Done {
			break
		}
		if err != nil {
			return fmt.Errorf("ListCryptoKeys: %w", err)
		}
		got = append(got, key.Name[strings.LastIndex(key.Name, "/")+1:])
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("ListCryptoKeys: %v, not %v", got, want)
	}
	step("list in pages")
	return nil
}

func disable(ctx context.Context, client *kms.KeyManagementClient, version string) error {
	_, err := client.UpdateCryptoKeyVersion(ctx, &kmspb.UpdateCryptoKeyVersionRequest{
		CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: version, State: kmspb.CryptoKeyVersion_DISABLED},
		UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
	})
	if err != nil {
		return fmt.Errorf("UpdateCryptoKeyVersion: %w", err)
	}
	key := version[:strings.Index(version, "/cryptoKeyVersions/")]
	_, err = client.Encrypt(ctx, &kmspb.EncryptRequest{Name: key, Plaintext: []byte("x")})
	return refused(codes.FailedPrecondition, err)
}

func checksum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}
