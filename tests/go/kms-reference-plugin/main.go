// kms-reference-plugin is a KMS plugin of another make: Kubernetes' own service helper (k8s.io/kms/pkg/service, which several
// real plugins are built on) around AES-256-GCM with a key that everybody can read here. The conformance suite and the benchmarks run
// against it. It must never guard anything.
//
// It is no better than the helper: it leaves the socket's mode to the umask and does not start beside a stale socket file.
package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1beta1 "k8s.io/kms/apis/v1beta1"
	"k8s.io/kms/pkg/service"
)

const keyID = "reference-1"

func main() {
	socket := flag.String("socket", "", "path of the socket")
	kms := flag.String("kms", "v2", "v1 or v2")
	delay := flag.Duration("delay", 0, "how long each Encrypt and Decrypt takes, as if the key were in a service elsewhere")
	flag.Parse()
	if err := serve(*socket, *kms, *delay); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(socket, kms string, delay time.Duration) error {
	secret := sha256.Sum256([]byte("kms-reference-plugin"))
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	switch kms {
	case "v2":
		return service.NewGRPCService(socket, 5*time.Second, &plugin{aead, delay}).ListenAndServe()
	case "v1":
		// The helper is for v2 only; this does for v1 what it does.
		listener, err := net.Listen("unix", socket)
		if err != nil {
			return err
		}
		server := grpc.NewServer()
		v1beta1.RegisterKeyManagementServiceServer(server, &v1{plugin: plugin{aead, delay}})
		return server.Serve(listener)
	}
	return errors.New("-kms is v1 or v2")
}

type plugin struct {
	aead  cipher.AEAD
	delay time.Duration
}

func (p *plugin) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: keyID}, nil
}

func (p *plugin) Encrypt(_ context.Context, _ string, plaintext []byte) (*service.EncryptResponse, error) {
	ciphertext, err := p.seal(plaintext)
	return &service.EncryptResponse{Ciphertext: ciphertext, KeyID: keyID}, err
}

func (p *plugin) Decrypt(_ context.Context, _ string, request *service.DecryptRequest) ([]byte, error) {
	if request.KeyID != keyID {
		return nil, status.Error(codes.InvalidArgument, "another key id")
	}
	return p.open(request.Ciphertext)
}

func (p *plugin) seal(plaintext []byte) ([]byte, error) {
	time.Sleep(p.delay)
	nonce := make([]byte, p.aead.NonceSize(), p.aead.NonceSize()+len(plaintext)+p.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return p.aead.Seal(nonce, nonce, plaintext, []byte(keyID)), nil
}

func (p *plugin) open(ciphertext []byte) ([]byte, error) {
	time.Sleep(p.delay)
	if len(ciphertext) < p.aead.NonceSize() {
		return nil, status.Error(codes.InvalidArgument, "not a ciphertext")
	}
	nonce, sealed := ciphertext[:p.aead.NonceSize()], ciphertext[p.aead.NonceSize():]
	plaintext, err := p.aead.Open(nil, nonce, sealed, []byte(keyID))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "not a ciphertext")
	}
	return plaintext, nil
}

type v1 struct {
	v1beta1.UnimplementedKeyManagementServiceServer
	plugin plugin
}

func (v *v1) Version(context.Context, *v1beta1.VersionRequest) (*v1beta1.VersionResponse, error) {
	return &v1beta1.VersionResponse{Version: "v1beta1", RuntimeName: "kms-reference-plugin", RuntimeVersion: "1"}, nil
}

func (v *v1) Encrypt(_ context.Context, request *v1beta1.EncryptRequest) (*v1beta1.EncryptResponse, error) {
	sealed, err := v.plugin.seal(request.Plain)
	return &v1beta1.EncryptResponse{Cipher: sealed}, err
}

func (v *v1) Decrypt(_ context.Context, request *v1beta1.DecryptRequest) (*v1beta1.DecryptResponse, error) {
	plaintext, err := v.plugin.open(request.Cipher)
	return &v1beta1.DecryptResponse{Plain: plaintext}, err
}
