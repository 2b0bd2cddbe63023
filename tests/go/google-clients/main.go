// Drives Google's Go clients against a server.
//
// Arguments: STORY (keys, clusters or encryption), TRANSPORT (rest or grpc), ENDPOINT (host:port), CREDENTIAL (token=FILE or key=FILE),
// PROJECT, NAME, and for `encryption` the name of a KEY. Prints one line for each step that held; a step that does not hold ends with an error.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const location = "us-central1"

func main() {
	if err := story(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func story(name, transport, endpoint, credential, project, of string, more []string) error {
	// A control plane that starts on a busy machine takes a minute.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	options, err := options(transport, endpoint, credential)
	if err != nil {
		return err
	}
	switch name {
	case "keys":
		return keys(ctx, transport, options, project, of)
	case "clusters":
		return clusters(ctx, transport, options, project, of)
	case "encryption":
		return encryption(ctx, transport, options, project, of, more[0])
	}
	return fmt.Errorf("%q is neither keys nor clusters nor encryption", name)
}

// options are those with which users make a client: an endpoint and a credential. Go reads the authority from SSL_CERT_FILE.
func options(transport, endpoint, credential string) ([]option.ClientOption, error) {
	if transport == "rest" {
		endpoint = "https://" + endpoint
	}
	at := option.WithEndpoint(endpoint)
	kind, path, _ := strings.Cut(credential, "=")
	switch kind {
	case "token":
		secret, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		token := &oauth2.Token{AccessToken: strings.TrimSpace(string(secret))}
		return []option.ClientOption{at, option.WithTokenSource(oauth2.StaticTokenSource(token))}, nil
	case "key":
		// Over gRPC the library signs a token with a scope and `"aud":""`; over REST it asks token_uri for one.
		return []option.ClientOption{at, option.WithAuthCredentialsFile(option.ServiceAccount, path)}, nil
	}
	return nil, fmt.Errorf("%q is neither token=FILE nor key=FILE", credential)
}

// names are those of google.rpc.Code.
var names = map[codes.Code]string{
	codes.InvalidArgument:    "INVALID_ARGUMENT",
	codes.NotFound:           "NOT_FOUND",
	codes.AlreadyExists:      "ALREADY_EXISTS",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Aborted:            "ABORTED",
	codes.Unimplemented:      "UNIMPLEMENTED",
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

func step(name string) {
	fmt.Println("ok", name)
}
