package frameworks

import (
	"time"
	"unicode/utf8"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
)

// Socket is an application on Fiber with a WebSocket that says everything back until its session ends, here or anywhere.
func Socket(m *counterfoil.Manager) *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage: true,
		BodyLimit:             16 << 10,         // Fiber has all of a body in memory before it asks anybody
		ReadTimeout:           10 * time.Second, // to send a request; a connection that is upgraded is free of it
		IdleTimeout:           time.Minute,
	})
	app.Use(fiberadapter.Endpoints(m), fiberadapter.New(fiberadapter.Config{Manager: m}))
	app.Get("/talk", fiberadapter.Require, func(c *fiber.Ctx) error {
		// Of the locals of a request, a websocket.Conn takes along those whose key is a string.
		c.Locals("session", fiberadapter.Session(c))
		return c.Next()
	}, websocket.New(talk))
	return app
}

func talk(c *websocket.Conn) {
	done := c.Locals("session").(*counterfoil.Session).Done()
	left := make(chan struct{})
	defer close(left)
	conn := c.Conn // c itself is used again for others
	end := func(code int, why string) {
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, why), time.Now().Add(time.Second))
		_ = conn.Close() // also under a read or a write that hangs
	}
	conn.SetReadLimit(1 << 10) // else a message may be as long as the client likes
	go func() {
		select {
		case <-done:
			end(websocket.ClosePolicyViolation, "signed out")
		case <-left:
		}
	}()
	for {
		kind, text, err := conn.ReadMessage()
		if err != nil {
			return
		}
		select {
		case <-done:
			return
		default:
		}
		// The library leaves that to its callers; a browser that is sent such a text gives up the connection.
		if kind == websocket.TextMessage && !utf8.Valid(text) {
			end(websocket.CloseInvalidFramePayloadData, "not UTF-8")
			return
		}
		_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if conn.WriteMessage(kind, text) != nil {
			return
		}
	}
}
