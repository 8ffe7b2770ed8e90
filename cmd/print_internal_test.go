package cmd

import (
	"bytes"
	"strings"
	"testing"
)

// TestPrintedURLsHoldNoSecret: neither of those that may be several nor of those that are one,
// and may have commas.
func TestPrintedURLsHoldNoSecret(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Broker.NATSURL = "nats://hunter2@a:4222,nats://ann:hunter2@b:4222"
	const one = "https://hunter2@example.com/in?ids=a,b&token=hunter2,hunter2"
	cfg.Webhooks = []WebhookConfig{{Name: "w", URL: one}}
	cfg.Auth.Tokens = []IssuerConfig{{Name: "a", JWKSURL: one}}
	cfg.Auth.ConnectHook.Hook.URL = one
	cfg.Namespaces = map[string]NamespaceConfig{"chat": {Hooks: NamespaceHooks{Subscribe: HookConfig{URL: one}, Publish: HookConfig{URL: one}}}}
	var b bytes.Buffer
	if err := printConfig(&b, cfg); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if strings.Contains(text, "hunter2") {
		t.Errorf("it prints a secret:\n%s", text)
	}
	if n := strings.Count(text, "https://redacted@example.com/in?redacted"); n != 5 {
		t.Errorf("%d of 5 addresses can be told:\n%s", n, text)
	}
	if !strings.Contains(text, "nats://redacted@a:4222,nats://redacted@b:4222") {
		t.Errorf("the servers cannot be told:\n%s", text)
	}
	if cfg.Auth.Tokens[0].JWKSURL != one || cfg.Webhooks[0].URL != one {
		t.Error("the configuration itself was changed")
	}
}

// TestPrintedWebhooksHaveTheirDefaults: what is printed is what a node does, and may be given
// to it again.
func TestPrintedWebhooksHaveTheirDefaults(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Webhooks = []WebhookConfig{{Name: "a", URL: "https://example.com/", Batch: 7}, {Name: "b", DeadLetters: "none"}}
	var b bytes.Buffer
	if err := printConfig(&b, cfg); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"timeout: 10s\n", "max_age: 1d\n", "batch: 7\n", "batch: 100\n", "concurrency: 8\n",
		"dead_letters: default:webhook-dead-letters.a\n", "dead_letters: none\n",
	} {
		if !strings.Contains(b.String(), "    "+want) {
			t.Errorf("there is no %q in\n%s", want, b.String())
		}
	}
	if cfg.Webhooks[0].Timeout != 0 {
		t.Error("the configuration itself was changed")
	}
}
