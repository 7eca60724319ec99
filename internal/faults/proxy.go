package faults

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Trouble says what a [Proxy] does to what it passes on. The zero value passes everything.
type Trouble struct {
	Refuse  bool          // new connections are closed at once, and those that there are
	Mute    bool          // half open: nothing passes any more in either direction, and nobody is told. Connections stay that way
	Cut     float64       // how probably an answer is cut in the middle, and its connection closed
	Swallow float64       // how probably an answer is lost whole, and its connection closed
	Latency time.Duration // before each answer
	Late    float64       // how probably an answer comes Latency later; 0 = always, if there is a Latency
	OneByte bool          // answers arrive a byte at a time
}

// A Proxy stands between a client and a server on TCP and troubles them. NewProxy makes one. It is safe for concurrent use and owns two goroutines
// for each connection and one besides, which end with Close.
type Proxy struct {
	listener net.Listener
	target   atomic.Pointer[string]
	trouble  atomic.Pointer[Trouble]
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// NewProxy listens on a free loopback port and passes everything on to the server at target.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, conns: map[net.Conn]struct{}{}}
	p.target.Store(&target)
	p.trouble.Store(&Trouble{})
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set troubles all connections from now on.
func (p *Proxy) Set(t Trouble) {
	p.trouble.Store(&t)
	if t.Refuse {
		p.Sever()
	}
}

// Move closes all connections and passes new ones on to another server.
func (p *Proxy) Move(target string) {
	p.target.Store(&target)
	p.Sever()
}

// Sever closes all connections.
func (p *Proxy) Sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Close ends everything. A second Close is harmless.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close()
	p.Sever()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.join(c) })
	}
}

// hold keeps a connection, to be closed with the others.
func (p *Proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.trouble.Load().Refuse {
		c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) join(client net.Conn) {
	if !p.hold(client) {
		return
	}
	defer p.drop(client)
	server, err := net.Dial("tcp", *p.target.Load())
	if err != nil || !p.hold(server) {
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client, false) })
	both.Go(func() { p.pass(client, server, true) })
	both.Wait()
}

func (p *Proxy) pass(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		t := p.trouble.Load()
		if t.Mute {
			io.Copy(io.Discard, from)
			return
		}
		if answers {
			if t.Latency > 0 && (t.Late == 0 || rand.Float64() < t.Late) {
				<-time.After(t.Latency)
			}
			switch {
			case t.Swallow > 0 && rand.Float64() < t.Swallow:
				return
			case t.Cut > 0 && rand.Float64() < t.Cut:
				to.Write(b[:n/2])
				return
			case t.OneByte:
				for i := range n {
					if _, err := to.Write(b[i : i+1]); err != nil {
						return
					}
				}
				continue
			}
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
