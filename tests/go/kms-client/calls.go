package main

import (
	"context"
	"fmt"
	"math/rand"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	v1 "k8s.io/kms/apis/v1beta1"
	v2 "k8s.io/kms/apis/v2"
)

// dial opens a connection with the options of kube-apiserver (kmsv2/grpc_service.go).
func dial(socket string, options ...grpc.DialOption) *grpc.ClientConn {
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return net.DialTimeout("unix", socket, 3*time.Second)
		}),
	}, options...)
	connection, err := grpc.Dial(socket, options...) //nolint:staticcheck // kube-apiserver calls it too
	check(err)
	return connection
}

func withAuthority(authority string) grpc.DialOption { return grpc.WithAuthority(authority) }

// askV1 closes the connection.
func askV1(connection *grpc.ClientConn) []string {
	var answers []string
	client := v1.NewKeyManagementServiceClient(connection)
	version, err := client.Version(deadline(), &v1.VersionRequest{Version: "v1beta1"})
	answers = append(answers, show(err, "%s %s %s", version.GetVersion(), version.GetRuntimeName(), version.GetRuntimeVersion()))
	for _, plain := range seeds {
		encrypted, err := client.Encrypt(deadline(), &v1.EncryptRequest{Version: "v1beta1", Plain: plain})
		answers = append(answers, show(err, "%x", encrypted.GetCipher()))
		decrypted, err := client.Decrypt(deadline(), &v1.DecryptRequest{Version: "v1beta1", Cipher: plain})
		answers = append(answers, show(err, "%x", decrypted.GetPlain()))
	}
	return answers
}

func askV2(connection *grpc.ClientConn) []string {
	var answers []string
	client := v2.NewKeyManagementServiceClient(connection)
	state, err := client.Status(deadline(), &v2.StatusRequest{})
	answers = append(answers, show(err, "%s %s %s", state.GetVersion(), state.GetHealthz(), state.GetKeyId()))
	for number, seed := range seeds {
		uid := fmt.Sprintf("uid-%d", number)
		encrypted, err := client.Encrypt(deadline(), &v2.EncryptRequest{Plaintext: seed, Uid: uid})
		answers = append(answers, show(err, "%x %s %q", encrypted.GetCiphertext(), encrypted.GetKeyId(), encrypted.GetAnnotations()))
		decrypted, err := client.Decrypt(deadline(), &v2.DecryptRequest{
			Ciphertext:  seed,
			Uid:         uid,
			KeyId:       "key",
			Annotations: map[string][]byte{"b.example.com": []byte("2"), "a.example.com": []byte("1")},
		})
		answers = append(answers, show(err, "%x", decrypted.GetPlaintext()))
	}
	return answers
}

// seeds are what is asked to be encrypted: v1's health check, a seed, nothing, and all that the limit lets through.
var seeds = [][]byte{
	[]byte("ping"),
	[]byte("0123456789abcdef0123456789abcdef"),
	{},
	[]byte("\x41\x02/x\x00\x00\x04\x01\x04\x00\x00\x00\x01\x41\x02/x"),
	[]byte(strings.Repeat("long ", 12_000)),
}

// askMuch makes calls at once whose headers evict each other from the tables, so that :authority is sent again and
// again as a literal.
func askMuch(connection *grpc.ClientConn, seed int64) []string {
	client := v2.NewKeyManagementServiceClient(connection)
	answers := make([]string, 2_000)
	var group sync.WaitGroup
	for worker := range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewSource(seed + int64(worker)))
			for call := worker; call < len(answers); call += 16 {
				headers := deadline()
				for range random.Intn(12) {
					name := fmt.Sprintf("x-%d", random.Intn(30))
					headers = metadata.AppendToOutgoingContext(headers, name, strings.Repeat("v", random.Intn(400)))
				}
				uid := fmt.Sprintf("uid-%d", call)
				encrypted, err := client.Encrypt(headers, &v2.EncryptRequest{Plaintext: []byte(uid), Uid: uid})
				answers[call] = show(err, "%s %s", encrypted.GetCiphertext(), encrypted.GetKeyId())
			}
		}()
	}
	group.Wait()
	return answers
}

func show(err error, format string, values ...any) string {
	if err != nil {
		return fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
	}
	return "ok " + fmt.Sprintf(format, values...)
}

// deadline is far above kube-apiserver's 3 s: an overloaded machine is no difference between two servers.
func deadline() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	context.AfterFunc(ctx, cancel)
	return ctx
}
