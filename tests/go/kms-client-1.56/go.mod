module keystead/kms-client

go 1.26

// As kube-apiserver 1.28 is built: grpc-go before 1.58 sends the socket path raw.
require (
	golang.org/x/net v0.23.0
	google.golang.org/grpc v1.56.3
	k8s.io/kms v0.28.15
)

require (
	github.com/gogo/protobuf v1.3.2 // indirect
	github.com/golang/protobuf v1.5.4 // indirect
	golang.org/x/sys v0.18.0 // indirect
	golang.org/x/text v0.14.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20230525234030-28d5490b6b19 // indirect
	google.golang.org/protobuf v1.33.0 // indirect
)

// It still holds packages that grpc-go takes from genproto/googleapis/rpc: with both, their imports are ambiguous.
exclude google.golang.org/genproto v0.0.0-20230410155749-daa745c078e1
