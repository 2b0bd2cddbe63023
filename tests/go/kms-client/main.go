// Command kms-client talks to a KMS plugin as kube-apiserver does, and in ways that no library does, and to a plugin of
// its own in Go with the same requests. It prints both answers; a test compares them.
//
// The modules kms-client and kms-client-1.56 share this source: grpc-go percent-encodes the socket path that it sends
// as :authority since 1.58, and sends it raw before (Kubernetes 1.27 and 1.28).
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

// Scenario is one way to ask, and what came back: one line for each call.
type Scenario struct {
	Name      string   `json:"name"`
	Ours      []string `json:"ours"`
	Reference []string `json:"reference"`
}

func main() {
	log.SetFlags(0)
	socket := flag.String("socket", "", "path of the socket under test")
	seed := flag.Int64("seed", 1, "seed of the frames written by hand")
	flag.Parse()
	if *socket == "" {
		log.Fatal("-socket is missing")
	}

	place, err := os.MkdirTemp("", "kms-client")
	check(err)
	reference := filepath.Join(place, "reference.sock")
	stop := serve(reference)

	var scenarios []Scenario
	both := func(name string, ask func(socket string) []string) {
		scenarios = append(scenarios, Scenario{name, ask(*socket), ask(reference)})
	}
	both("as kube-apiserver, v1", func(socket string) []string { return askV1(dial(socket)) })
	both("as kube-apiserver before 1.32, v2", func(socket string) []string { return askV2(dial(socket)) })
	for _, authority := range authorities {
		both(fmt.Sprintf("authority %q", authority), func(socket string) []string {
			connection := dial(socket, withAuthority(authority))
			return append(askV1(connection), askV2(connection)...)
		})
	}
	both("many calls at once, with headers that fill the tables", func(socket string) []string {
		return askMuch(dial(socket), *seed)
	})
	for round := range 40 {
		seed := *seed + int64(round)
		both(fmt.Sprintf("frames by hand, seed %d", seed), func(socket string) []string {
			return askByHand(socket, seed)
		})
	}

	stop()
	check(os.RemoveAll(place))
	check(json.NewEncoder(os.Stdout).Encode(scenarios))
}

// authorities are sent as they are: what kube-apiserver versions send, and paths with all kinds of bytes.
var authorities = []string{
	"localhost",
	"/tmp/kms.sock",
	"%2Ftmp%2Fkms.sock",
	"/run/a path/ümläut/:@[]~{}#^\\",
	"/run/a-path-so-long-that-its-length-does-not-fit-into-the-prefix-of-seven-bits/" +
		"and-goes-on-for-some-while-after-that/kms.sock",
	"@keystead",
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
