package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sort"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/kms/apis/v1beta1"
	v2 "k8s.io/kms/apis/v2"
)

// serve runs the service of crates/plugin/tests/it/transport_echo.rs on a real grpc-go server.
func serve(socket string) func() {
	listener, err := net.Listen("unix", socket)
	check(err)
	server := grpc.NewServer()
	v1.RegisterKeyManagementServiceServer(server, echoV1{})
	v2.RegisterKeyManagementServiceServer(server, echoV2{})
	go func() { check(server.Serve(listener)) }()
	return server.Stop
}

type echoV1 struct{ v1.KeyManagementServiceServer }

func (echoV1) Version(_ context.Context, request *v1.VersionRequest) (*v1.VersionResponse, error) {
	version := request.GetVersion()
	return &v1.VersionResponse{Version: version, RuntimeName: "echo of " + version, RuntimeVersion: "1"}, nil
}

func (echoV1) Encrypt(_ context.Context, request *v1.EncryptRequest) (*v1.EncryptResponse, error) {
	turned, err := turn(request.GetPlain(), request.GetVersion())
	return &v1.EncryptResponse{Cipher: turned}, err
}

func (echoV1) Decrypt(_ context.Context, request *v1.DecryptRequest) (*v1.DecryptResponse, error) {
	turned, err := turn(request.GetCipher(), request.GetVersion())
	return &v1.DecryptResponse{Plain: turned}, err
}

type echoV2 struct{ v2.KeyManagementServiceServer }

func (echoV2) Status(context.Context, *v2.StatusRequest) (*v2.StatusResponse, error) {
	return &v2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: fmt.Sprintf("uid %d", os.Geteuid())}, nil
}

func (echoV2) Encrypt(_ context.Context, request *v2.EncryptRequest) (*v2.EncryptResponse, error) {
	turned, err := turn(request.GetPlaintext(), request.GetUid())
	return &v2.EncryptResponse{
		Ciphertext:  turned,
		KeyId:       "for " + request.GetUid(),
		Annotations: map[string][]byte{"length.example.com": []byte(fmt.Sprint(len(request.GetPlaintext())))},
	}, err
}

func (echoV2) Decrypt(_ context.Context, request *v2.DecryptRequest) (*v2.DecryptResponse, error) {
	var notes []string
	for name, value := range request.GetAnnotations() {
		notes = append(notes, name+"="+string(value))
	}
	sort.Strings(notes)
	context := request.GetUid() + "|" + request.GetKeyId() + "|" + strings.Join(notes, ",")
	turned, err := turn(request.GetCiphertext(), context)
	return &v2.DecryptResponse{Plaintext: turned}, err
}

// turn gives the bytes backwards, then the context; nothing is an error.
func turn(bytes []byte, context string) ([]byte, error) {
	if len(bytes) == 0 {
		return nil, status.Error(codes.InvalidArgument, "nothing to turn for "+context)
	}
	turned := slices.Clone(bytes)
	slices.Reverse(turned)
	return append(turned, context...), nil
}
