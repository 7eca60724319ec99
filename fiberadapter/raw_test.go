package fiberadapter_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

// raw sends bytes to the application over a connection in memory and returns all that it answers.
func raw(t testing.TB, a *fiber.App, request string) string {
	t.Helper()
	return pour(t, a, strings.NewReader(request))
}

// pour sends what a reader has.
func pour(t testing.TB, a *fiber.App, request io.Reader) string {
	t.Helper()
	c := &memory{in: request}
	a.Handler() // builds the routes
	_ = a.Server().ServeConn(c)
	return c.out.String()
}

// memory is a connection whose client has said everything and now listens.
type memory struct {
	in  io.Reader
	out bytes.Buffer
}

func (c *memory) Read(b []byte) (int, error)     { return c.in.Read(b) }
func (c *memory) Write(b []byte) (int, error)    { return c.out.Write(b) }
func (*memory) Close() error                     { return nil }
func (*memory) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (*memory) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }
func (*memory) SetDeadline(time.Time) error      { return nil }
func (*memory) SetReadDeadline(time.Time) error  { return nil }
func (*memory) SetWriteDeadline(time.Time) error { return nil }
