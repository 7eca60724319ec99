package frameworks

import (
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
)

// GRPC makes a gRPC server whose methods are called by somebody: httpadapter.VerifiedFrom(ctx) says who. A stream is checked when it begins; one
// that outlives an access token opens the session, Manager.Open, and watches its Done.
func GRPC(m *counterfoil.Manager) (*grpc.Server, error) {
	check, err := httpadapter.AuthFunc(httpadapter.AuthConfig{
		Guard:    m.Guard(),
		Metadata: metadata.ValueFromIncomingContext,
		Fail:     func(code uint32, text string) error { return status.Error(codes.Code(code), text) },
	})
	if err != nil {
		return nil, err
	}
	return grpc.NewServer(grpc.UnaryInterceptor(auth.UnaryServerInterceptor(check)), grpc.StreamInterceptor(auth.StreamServerInterceptor(check))), nil
}
