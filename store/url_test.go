package store

import (
	"slices"
	"testing"
)

func TestParseURL(t *testing.T) {
	for _, x := range []struct {
		url      string
		topology topology
		addrs    []string
		user     string
		password string
		db       int
		tls      string // "" = none, "any" = each server by its own name
		master   string
		sentinel string // user:password
	}{
		{url: "redis://", addrs: []string{"localhost:6379"}},
		{url: "redis://h", addrs: []string{"h:6379"}},
		{url: "redis://h:1/3?pool_size=7", addrs: []string{"h:1"}, db: 3},
		{url: "redis://u:p%40%2F%2C@[::1]:1", addrs: []string{"[::1]:1"}, user: "u", password: "p@/,"},
		{url: "redis://:a,b@h", addrs: []string{"h:6379"}, password: "a,b"},
		{url: "rediss://h", addrs: []string{"h:6379"}, tls: "h"},
		{url: "redis+cluster://:p@a,b:7,[::1]:8", topology: cluster, addrs: []string{"a:6379", "b:7", "[::1]:8"}, password: "p"},
		{url: "redis+cluster://a/0", topology: cluster, addrs: []string{"a:6379"}},
		{url: "rediss+cluster://a,b/?protocol=2", topology: cluster, addrs: []string{"a:6379", "b:6379"}, tls: "any"},
		{url: "redis+sentinel://u:p@a,b:7/main", topology: sentinel, addrs: []string{"a:26379", "b:7"}, user: "u", password: "p", master: "main"},
		{url: "redis+sentinel://a/my%2Fmain/4", topology: sentinel, addrs: []string{"a:26379"}, master: "my/main", db: 4},
		{url: "rediss+sentinel://a/m?sentinel_username=w&sentinel_password=s%26&pool_size=3", topology: sentinel, addrs: []string{"a:26379"}, master: "m", tls: "any", sentinel: "w:s&"},
	} {
		t.Run(x.url, func(t *testing.T) {
			got, err := parseURL(x.url)
			if err != nil {
				t.Fatal(err)
			}
			o, tls := got.options, ""
			if o.TLSConfig != nil {
				if tls = o.TLSConfig.ServerName; tls == "" {
					tls = "any"
				}
			}
			watch := ""
			if got.sentinelPassword != "" {
				watch = got.sentinelUsername + ":" + got.sentinelPassword
			}
			if got.topology != x.topology || !slices.Equal(got.addrs, x.addrs) || o.Username != x.user || o.Password != x.password || o.DB != x.db || tls != x.tls ||
				got.master != x.master || watch != x.sentinel {
				t.Errorf("topology %d, hosts %q, user %q, password %q, database %d, TLS %q, master %q, Sentinels %q",
					got.topology, got.addrs, o.Username, o.Password, o.DB, tls, got.master, watch)
			}
			if u := got.universal(); u.DB != o.DB || u.Username != o.Username || u.Password != o.Password || u.PoolSize != o.PoolSize || u.TLSConfig != o.TLSConfig || u.Protocol != o.Protocol {
				t.Error("the options of the other clients differ from it")
			}
		})
	}
}
