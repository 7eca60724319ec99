package redistest_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/redistest"
)

func TestStart(t *testing.T) {
	for name, opt := range map[string]redistest.Options{
		"plain":        {},
		"password":     {Password: `s3"c re\t/@:#`},
		"TLS":          {TLS: true, Password: "p"},
		"more options": {Config: []string{"appendonly yes", "maxmemory 64mb"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t, opt)
			o, err := redis.ParseURL(s.URL())
			if err != nil {
				t.Fatal(err)
			}
			if opt.TLS {
				o.TLSConfig = s.TLSConfig()
			}
			c := redis.NewClient(o)
			defer c.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			s.Restart(t)
			if err := c.Ping(ctx).Err(); err != nil {
				t.Fatalf("after a restart: %v", err)
			}
		})
	}
}
