package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// askByHand makes calls on one connection with frames that are legal but that grpc-go never writes: padding, priority,
// blocks cut anywhere into CONTINUATION frames, changes of the table's size, :authority at any place among the pseudo
// headers and in any kind of literal, unknown frames in between, and writes of any size.
func askByHand(socket string, seed int64) []string {
	random := rand.New(rand.NewSource(seed))
	connection, err := net.Dial("unix", socket)
	check(err)
	defer connection.Close()
	check(connection.SetDeadline(time.Now().Add(time.Minute)))

	client := &byHand{connection: connection, random: random, pieces: rand.New(rand.NewSource(seed))}
	client.framer = http2.NewFramer(&client.out, connection)
	client.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	client.framer.AllowIllegalWrites = true
	client.encoder = hpack.NewEncoder(&client.block)

	client.out.WriteString(http2.ClientPreface)
	check(client.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
	check(client.framer.WriteWindowUpdate(0, 1<<30))
	var answers []string
	for call := range 60 {
		answers = append(answers, client.call(uint32(2*call+1)))
	}
	return answers
}

type byHand struct {
	connection net.Conn
	random     *rand.Rand
	// Cuts writes. Apart, because the two servers' frames come at different times and are answered in what is written.
	pieces  *rand.Rand
	out     bytes.Buffer
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

func (c *byHand) call(stream uint32) string {
	c.headers(stream)
	c.between(stream)
	c.body(stream)
	c.flush()
	return c.answer(stream)
}

func (c *byHand) headers(stream uint32) {
	if c.random.Intn(4) == 0 {
		c.encoder.SetMaxDynamicTableSize([]uint32{0, 100, 1000, 4096}[c.random.Intn(4)])
	}
	authority := authorities[c.random.Intn(len(authorities))]
	pseudo := []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: "/v2.KeyManagementService/Encrypt"},
		// Sensitive: a literal that is never indexed.
		{Name: ":authority", Value: authority, Sensitive: c.random.Intn(4) == 0},
	}
	c.random.Shuffle(len(pseudo), func(a, b int) { pseudo[a], pseudo[b] = pseudo[b], pseudo[a] })
	fields := []hpack.HeaderField{
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"},
	}
	for range c.random.Intn(30) {
		name, value := fmt.Sprintf("x-%d", c.random.Intn(60)), strings.Repeat("/v", c.random.Intn(100))
		fields = append(fields, hpack.HeaderField{Name: name, Value: value, Sensitive: c.random.Intn(9) == 0})
	}
	c.random.Shuffle(len(fields), func(a, b int) { fields[a], fields[b] = fields[b], fields[a] })

	c.block.Reset()
	for _, field := range append(pseudo, fields...) {
		check(c.encoder.WriteField(field))
	}
	parts := c.cut(c.block.Bytes(), c.random.Intn(4))
	head := http2.HeadersFrameParam{StreamID: stream, BlockFragment: parts[0], EndHeaders: len(parts) == 1}
	if c.random.Intn(2) == 0 {
		head.PadLength = uint8(c.random.Intn(256))
	}
	if c.random.Intn(2) == 0 {
		head.Priority = http2.PriorityParam{Weight: uint8(c.random.Intn(256)), Exclusive: c.random.Intn(2) == 0}
	}
	check(c.framer.WriteHeaders(head))
	for index, part := range parts[1:] {
		check(c.framer.WriteContinuation(stream, index == len(parts)-2, part))
	}
}

// between writes a frame that nobody needs.
func (c *byHand) between(stream uint32) {
	looksLikeABlock := []byte("\x41\x02/x\x00\x00\x04\x01\x04")
	switch c.random.Intn(4) {
	case 0:
		check(c.framer.WriteWindowUpdate(stream, 1))
	case 1:
		check(c.framer.WriteRawFrame(0xfa, http2.Flags(c.random.Intn(256)), stream, looksLikeABlock))
	case 2:
		check(c.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 100}))
	}
}

func (c *byHand) body(stream uint32) {
	seed := make([]byte, c.random.Intn(200))
	c.random.Read(seed)
	uid := fmt.Sprintf("uid-%d", stream)
	// Fields 1 and 2 of v2.EncryptRequest.
	message := binary.AppendUvarint([]byte{0x0a}, uint64(len(seed)))
	message = append(message, seed...)
	message = append(binary.AppendUvarint(append(message, 0x12), uint64(len(uid))), uid...)
	whole := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(message)))...)
	whole = append(whole, message...)

	parts := c.cut(whole, c.random.Intn(4))
	for index, part := range parts {
		padding := make([]byte, c.random.Intn(2)*c.random.Intn(100))
		check(c.framer.WriteDataPadded(stream, index == len(parts)-1, part, padding))
	}
}

// cut makes up to cuts+1 parts, none of them empty.
func (c *byHand) cut(whole []byte, cuts int) [][]byte {
	places := []int{0, len(whole)}
	for range cuts {
		places = append(places, c.random.Intn(len(whole)))
	}
	slices.Sort(places)
	places = slices.Compact(places)
	var parts [][]byte
	for index, place := range places[1:] {
		parts = append(parts, whole[places[index]:place])
	}
	return parts
}

// flush writes in pieces: single bytes, or up to a few hundred, or all.
func (c *byHand) flush() {
	largest := []int{1, 7, 300, 1 << 20}[c.pieces.Intn(4)]
	for c.out.Len() > 0 {
		_, err := c.connection.Write(c.out.Next(1 + c.pieces.Intn(largest)))
		check(err)
	}
}

// answer reads until the stream ends. Errors are answers too.
func (c *byHand) answer(stream uint32) string {
	var body []byte
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return "error: " + err.Error()
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				check(c.framer.WriteSettingsAck())
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				check(c.framer.WritePing(true, frame.Data))
			}
		case *http2.GoAwayFrame:
			return "goaway: " + frame.ErrCode.String()
		case *http2.RSTStreamFrame:
			// A server may reset a stream that it has answered already.
			if frame.StreamID == stream {
				return "reset: " + frame.ErrCode.String()
			}
		case *http2.DataFrame:
			if frame.StreamID == stream {
				body = append(body, frame.Data()...)
			}
		case *http2.MetaHeadersFrame:
			if frame.StreamID == stream && frame.StreamEnded() {
				code, message := field(frame, "grpc-status"), field(frame, "grpc-message")
				message, err = url.PathUnescape(message)
				check(err)
				return fmt.Sprintf("%s %s %x", code, message, body)
			}
		}
	}
}

func field(frame *http2.MetaHeadersFrame, name string) string {
	for _, field := range frame.Fields {
		if field.Name == name {
			return field.Value
		}
	}
	return ""
}
