package cmd_test

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/cmd/internal/pki"
)

// everyMetric is the line of each metric that a node has with everything that it can be
// configured with, whether or not it has a value yet, in the order of their names.
func everyMetric(t *testing.T) (names, lines []string) {
	t.Helper()
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"keys":[]}`) }))
	t.Cleanup(answers.Close)
	authority, f := pki.New(t), pki.NewFiles(t)
	f.Put(t)(authority.Leaf(t, nil))
	cfg := guardedConfig(t)
	cfg.Auth.HMAC.Issuer = "app"
	cfg.Auth.Tokens = []cmd.IssuerConfig{{Name: "idp", Issuer: "idp", Algorithms: []string{"ES256"}, JWKSURL: answers.URL}}
	cfg.Auth.ConnectHook.Hook = cmd.HookConfig{URL: answers.URL, Secret: auth.NewSecret(testSecret)}
	cfg.Webhooks = []cmd.WebhookConfig{{
		Name: "w", URL: answers.URL, Secret: auth.NewSecret(testSecret), Events: []string{"message.published"}, Channels: []string{"chat:>"}, DeadLetters: "none",
	}}
	cfg.Server.TLS.CertFile, cfg.Server.TLS.KeyFile = f.Cert, f.Key
	cfg.Server.TrustedProxies, cfg.Server.ProxyProtocol = []string{"127.0.0.1"}, true
	reg := prometheus.NewRegistry()
	n, err := cmd.New(cfg, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopNode(t, n) })
	all := make(chan *prometheus.Desc)
	go func() {
		defer close(all)
		reg.Describe(all)
	}()
	parts := regexp.MustCompile(`fqName: "([^"]+)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}`)
	for d := range all {
		m := parts.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if m[3] != "" {
			t.Errorf("%s has constant labels", d)
		}
		name := m[1]
		if m[4] != "" {
			m[1] += "{" + m[4] + "}"
		}
		names = append(names, name)
		lines = append(lines, fmt.Sprintf("| `%s` | %s |", m[1], strings.ReplaceAll(m[2], `\"`, `"`)))
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(a, b) })
	return names, lines
}

// TestEveryMetricIsDocumented: docs/operating.md lists the metrics of a node as they are, and no
// document speaks of one that does not exist.
func TestEveryMetricIsDocumented(t *testing.T) {
	names, lines := everyMetric(t)
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(lines, "\n") + "\n"; len(lines) < 80 || !strings.Contains(string(text), want) {
		t.Errorf("docs/operating.md should list these %d, in a row:\n%s", len(lines), want)
	}
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\brivulet_[a-z0-9_]+`)
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			begins := strings.HasSuffix(name, "_") // as in rivulet_x_*, or a name that is cut
			if !slices.ContainsFunc(names, func(known string) bool {
				return known == name || begins && strings.HasPrefix(known, name)
			}) {
				t.Errorf("%s: there is no metric %s", page, name)
			}
		}
	}
}
