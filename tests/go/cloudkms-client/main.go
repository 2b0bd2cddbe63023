// Drives cloud.google.com/go/kms against a server: create, rotate, encrypt, decrypt, grant, list in pages, errors.
//
// Arguments: TRANSPORT (rest or grpc), ENDPOINT (host:port), CREDENTIAL (token=FILE or key=FILE), PROJECT, RING.
// Prints one line for each step that held; a step that does not hold ends with an error.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"reflect"
	"strings"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const location = "us-central1"

func main() {
	if err := story(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func story(transport, endpoint, credential, project, ring string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := connect(ctx, transport, endpoint, credential)
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

// connect makes a client as its users do: an endpoint and a credential. Go reads the authority from SSL_CERT_FILE.
func connect(ctx context.Context, transport, endpoint, credential string) (*kms.KeyManagementClient, error) {
	kind, path, _ := strings.Cut(credential, "=")
	var who option.ClientOption
	switch kind {
	case "token":
		secret, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		who = option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{
			AccessToken: strings.TrimSpace(string(secret)),
		}))
	case "key":
		// Over gRPC the library signs a token with a scope and `"aud":""`; over REST it asks token_uri for one.
		who = option.WithAuthCredentialsFile(option.ServiceAccount, path)
	default:
		return nil, fmt.Errorf("%q is neither token=FILE nor key=FILE", credential)
	}
	if transport == "rest" {
		return kms.NewKeyManagementRESTClient(ctx, option.WithEndpoint("https://"+endpoint), who)
	}
	return kms.NewKeyManagementClient(ctx, option.WithEndpoint(endpoint), who)
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

// names are those of google.rpc.Code.
var names = map[codes.Code]string{
	codes.InvalidArgument:    "INVALID_ARGUMENT",
	codes.NotFound:           "NOT_FOUND",
	codes.AlreadyExists:      "ALREADY_EXISTS",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Aborted:            "ABORTED",
}

// refused says whether the error has the code that was expected; over REST the library keeps the server's answer.
func refused(want codes.Code, err error) error {
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		if !strings.Contains(answer.Body, `"status":"`+names[want]+`"`) {
			return fmt.Errorf("%v was expected, not: %w", want, err)
		}
	} else if got := status.Code(err); got != want {
		return fmt.Errorf("%v was expected, not %v: %w", want, got, err)
	}
	step(want.String())
	return nil
}

func checksum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

func step(name string) {
	fmt.Println("ok", name)
}
