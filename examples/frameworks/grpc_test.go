package frameworks_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/examples/frameworks"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// who serves when it is asked for whoever asks.
type who struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (who) answer(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) *grpc_health_v1.HealthCheckResponse {
	if r.Service != httpadapter.VerifiedFrom(ctx).Subject() {
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING}
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}
}

func (w who) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return w.answer(ctx, r), nil
}

func (w who) Watch(r *grpc_health_v1.HealthCheckRequest, s grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	return s.Send(w.answer(s.Context(), r))
}

// TestGRPC calls a real server, by a single answer and by a stream, before and after the session has ended.
func TestGRPC(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	srv, err := frameworks.GRPC(r.Manager)
	if err != nil {
		t.Fatal(err)
	}
	grpc_health_v1.RegisterHealthServer(srv, who{})
	ln := bufconn.Listen(1 << 16)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	defer func() { srv.Stop(); <-served }()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	good := "Bearer " + tokens.Access.Reveal()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ask := func(authorization []string, call func(context.Context) (*grpc_health_v1.HealthCheckResponse, error)) codes.Code {
		ctx := ctx
		for _, v := range authorization {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", v)
		}
		answer, err := call(ctx)
		if err == nil && answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Error("the method is told that somebody else asks")
		}
		return status.Code(err)
	}
	alice := &grpc_health_v1.HealthCheckRequest{Service: "alice"}
	calls := map[string]func(context.Context) (*grpc_health_v1.HealthCheckResponse, error){
		"a call": func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			return client.Check(ctx, alice)
		},
		"a stream": func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			s, err := client.Watch(ctx, alice)
			if err != nil {
				return nil, err
			}
			return s.Recv()
		},
	}
	for _, tt := range []struct {
		name          string
		before        func()
		authorization []string
		want          codes.Code
	}{
		{"no token", nil, nil, codes.Unauthenticated},
		{"a token that is none", nil, []string{"Bearer x"}, codes.Unauthenticated},
		{"two", nil, []string{good, good}, codes.Unauthenticated},
		{"a refresh token", nil, []string{"Bearer " + tokens.Refresh.Reveal()}, codes.Unauthenticated},
		{"good", nil, []string{good}, codes.OK},
		{"after the end", func() {
			if err := r.End(ctx, s.ID()); err != nil {
				t.Fatal(err)
			}
		}, []string{good}, codes.Unauthenticated},
	} {
		if tt.before != nil {
			tt.before()
		}
		for name, call := range calls {
			if got := ask(tt.authorization, call); got != tt.want {
				t.Errorf("%s, %s: %v, want %v", tt.name, name, got, tt.want)
			}
		}
	}
}
