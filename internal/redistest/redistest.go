// Package redistest starts real redis-server processes for tests. [Start] runs one from PATH on a free loopback port with a directory of its
// own, and stops it when the test ends; [StartReplicas] adds replicas to it; [StartCluster] runs a Cluster, [StartSentinel] a primary with replicas
// and the Sentinels that watch them. A [Server] can be killed, restarted and paused. It never touches a server that is already running.
//
// Where no redis-server is installed the test is skipped, unless the environment variable COUNTERFOIL_REQUIRE, a comma-separated list,
// contains "redis": then it fails. So it is with valkey-server, where [Options] ask for it, and "valkey".
package redistest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/redis/go-redis/v9"
)

// Options says how a server is started. The zero value is a server without password, TLS or persistence.
type Options struct {
	Password string   // requirepass
	TLS      bool     // serve TLS only, with a certificate made for this server
	Config   []string // further configuration lines, such as "appendonly yes"
	Binary   string   // the program, looked up in PATH; "" = redis-server
	Replicas int      // of each primary, in StartCluster and StartSentinel
	Env      []string // added to the environment of the process
	Host     string   // the address it listens at; "" = 127.0.0.1
	Run      []string // a command that runs the program given to it, such as "ip", "netns", "exec", "name"; nil = none
}

func (o Options) host() string {
	if o.Host == "" {
		return "127.0.0.1"
	}
	return o.Host
}

func (o Options) binary() string {
	if o.Binary == "" {
		return "redis-server"
	}
	return o.Binary
}

// Server is one redis-server process. [Start] makes it. It is not safe for concurrent use, except for Addr, URL and TLSConfig.
type Server struct {
	dir, bin string
	port     string
	bus      string // port of the cluster bus
	opt      Options
	pool     *x509.CertPool
	sentinel []string // configuration lines of a Sentinel; nil = a data server

	process *exec.Cmd
	exited  chan struct{} // closed when process has ended
}

// ready is how long a server may take to begin or to stop serving.
const ready = 45 * time.Second

// Start runs a server and waits until it serves. It is stopped when the test ends.
func Start(t testing.TB, opt Options) *Server {
	t.Helper()
	return start(t, &Server{opt: opt})
}

// StartReplicas runs replicas of a server, with its options, and waits until they follow it and it counts them. TLS is not among the options.
func StartReplicas(t testing.TB, primary *Server, n int) []*Server {
	t.Helper()
	if primary.opt.TLS {
		t.Fatal("redistest: no TLS with replicas")
	}
	host, port, _ := net.SplitHostPort(primary.Addr())
	opt := primary.opt
	opt.Config = append([]string{"replicaof " + host + " " + port}, opt.Config...)
	var replicas []*Server
	for range n {
		replicas = append(replicas, Start(t, opt))
	}
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	for _, r := range replicas {
		c := redis.NewClient(&redis.Options{Addr: r.Addr(), Password: opt.Password})
		defer c.Close()
		wait(ctx, t, "a replica does not follow", func() bool {
			return strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:up")
		})
	}
	c := redis.NewClient(&redis.Options{Addr: primary.Addr(), Password: opt.Password})
	defer c.Close()
	online(ctx, t, c, n)
	return replicas
}

// online waits until a primary counts its replicas, which is up to a second after they say that they follow it. Before, WAIT does not count them.
func online(ctx context.Context, t testing.TB, primary *redis.Client, n int) {
	t.Helper()
	wait(ctx, t, "a primary does not count its replicas", func() bool {
		return strings.Count(primary.Info(ctx, "replication").Val(), "state=online") >= n
	})
}

func start(t testing.TB, s *Server) *Server {
	t.Helper()
	name, opt := s.opt.binary(), s.opt
	bin, err := exec.LookPath(name)
	if err != nil {
		word, _, _ := strings.Cut(filepath.Base(name), "-")
		require.Missing(t, word, "no %s in PATH: not run against a real one", name)
	}
	s.dir, s.bin = t.TempDir(), bin
	if opt.TLS {
		if s.pool, err = writeCertificate(s.dir); err != nil {
			t.Fatalf("redistest: certificate: %v", err)
		}
	}
	t.Cleanup(s.Kill)
	for range 5 { // somebody else may take the port between our looking and the server's binding
		if s.port, err = freePort(); err != nil {
			t.Fatalf("redistest: no free port: %v", err)
		}
		if err = s.run(); err == nil {
			return s
		}
	}
	t.Fatalf("redistest: %s does not start: %v", name, err)
	return nil
}

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.opt.host(), s.port) }

// URL returns the URL with the password in it, redis:// or rediss://. For TLS the client also needs [Server.TLSConfig].
func (s *Server) URL() string {
	u := url.URL{Scheme: "redis", Host: s.Addr()}
	if s.opt.TLS {
		u.Scheme = "rediss"
	}
	if s.opt.Password != "" {
		u.User = url.UserPassword("", s.opt.Password)
	}
	return u.String()
}

// TLSConfig returns what a client needs to trust this server; nil without TLS.
func (s *Server) TLSConfig() *tls.Config {
	if s.pool == nil {
		return nil
	}
	return &tls.Config{RootCAs: s.pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
}

// Certificate returns the path of the server's certificate in PEM, for SSL_CERT_FILE; "" without TLS.
func (s *Server) Certificate() string {
	if s.pool == nil {
		return ""
	}
	return filepath.Join(s.dir, "cert.pem")
}

// Kill ends the process at once, as a crash would. Killing twice is harmless.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.process.Process.Kill()
	<-s.exited
	s.process = nil
}

// Restart ends the process if it runs and starts it again on the same port and directory.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		t.Fatalf("redistest: %s does not start again: %v", s.opt.binary(), err)
	}
}

// run starts the process and waits until it says that it accepts connections.
func (s *Server) run() error {
	lines := []string{"bind " + s.opt.host(), "dir " + s.dir, "save \"\"", "appendonly no", "daemonize no", "protected-mode yes",
		"repl-diskless-sync no"} // a replica that was sent no file counts only from its next sign of life, up to a second later
	if s.opt.TLS {
		cert := filepath.Join(s.dir, "cert.pem")
		lines = append(lines, "port 0", "tls-port "+s.port, "tls-cert-file "+cert, "tls-key-file "+filepath.Join(s.dir, "key.pem"),
			"tls-ca-cert-file "+cert, "tls-auth-clients no")
	} else {
		lines = append(lines, "port "+s.port)
	}
	if s.opt.Password != "" {
		lines = append(lines, "requirepass "+quoted(s.opt.Password), "masterauth "+quoted(s.opt.Password))
	}
	lines = append(lines, s.opt.Config...)
	cmd := s.command("-") // configuration on standard input, so that no password is in the process list
	mark := "Ready to accept connections"
	if s.sentinel != nil { // it keeps what it learns in its configuration file, so there must be one
		lines = append([]string{"bind " + s.opt.host(), "port " + s.port, "dir " + s.dir, "daemonize no"}, s.sentinel...)
		file := filepath.Join(s.dir, "sentinel.conf")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return err
		}
		cmd, mark = s.command(file, "--sentinel"), "+monitor master"
	}
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	cmd.Dir = s.dir
	dieWithParent(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	serving, exited := make(chan struct{}), make(chan struct{})
	var last string
	go func() {
		defer close(exited)
		in := bufio.NewScanner(out)
		for in.Scan() {
			if last = in.Text(); strings.Contains(last, mark) {
				close(serving)
				break
			}
		}
		io.Copy(io.Discard, out)
		cmd.Wait()
	}()
	s.process, s.exited = cmd, exited
	timer := time.NewTimer(ready)
	defer timer.Stop()
	select {
	case <-serving:
		return nil
	case <-exited:
		s.process = nil
		return errors.New(last)
	case <-timer.C:
		s.Kill()
		return fmt.Errorf("not ready after %v", ready)
	}
}

// command is that of the process. What runs the program for us must become it, so that signals reach the server.
func (s *Server) command(args ...string) *exec.Cmd {
	args = slices.Concat(s.opt.Run, []string{s.bin}, args)
	cmd := exec.Command(args[0], args[1:]...)
	if len(s.opt.Env) > 0 {
		cmd.Env = append(os.Environ(), s.opt.Env...)
	}
	return cmd
}

// Pause stops the process without ending it: its connections stay open and nothing is answered. Killing it still works.
func (s *Server) Pause(t testing.TB) { s.signal(t, stop) }

// Resume lets a paused process go on.
func (s *Server) Resume(t testing.TB) { s.signal(t, goOn) }

func (s *Server) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if s.process == nil {
		t.Fatal("redistest: no process to signal")
	}
	if err := s.process.Process.Signal(sig); err != nil {
		t.Fatalf("redistest: %v", err)
	}
}

// quoted writes a string as the configuration file takes it.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// writeCertificate makes a self-signed certificate for 127.0.0.1 as cert.pem and key.pem.
func writeCertificate(dir string) (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "redistest"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost"},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600); err != nil {
		return nil, err
	}
	err = os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool, err
}
