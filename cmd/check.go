package cmd

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/auth"
)

func newCheck(s Streams) *cobra.Command {
	var node nodeFlags
	var show, strict bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration and say what it means and what is insecure about it",
		Long: `Reads the configuration as serve would, from the file, the environment and the
flags. First it reports every key that is unknown and every value that cannot be
read; where there is none, every problem of what they say. If it is valid, it says
what the node would do and what is insecure about that. It starts and changes
nothing. Give it what serve is given.`,
		Example: `  rivulet check --config rivulet.yaml
  RIVULET_AUTH_HMAC_SECRET=... rivulet check --listen :8080 --sync always`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := node.read(cmd, s.Environ)
			if err != nil {
				return err
			}
			a, err := cfg.nodeConfig()
			if err != nil {
				return usagef("%w", err)
			}
			if show {
				return printConfig(s.Out, cfg)
			}
			if n := describeConfig(s.Out, cfg, a); strict && n > 0 {
				return fmt.Errorf("--strict: there %s", map[bool]string{true: "is 1 warning", false: fmt.Sprintf("are %d warnings", n)}[n == 1])
			}
			return nil
		},
	}
	node.add(cmd)
	cmd.Flags().BoolVar(&show, "print", false, "write the configuration in effect instead, as YAML, without secrets")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail where there is a warning")
	return cmd
}

// describeConfig returns how many warnings it has written.
func describeConfig(w io.Writer, cfg Config, a auth.Config) int {
	fmt.Fprintln(w, "The configuration is valid.")
	fmt.Fprintf(w, "  listens on   %s\n", listenSummary(cfg))
	fmt.Fprintf(w, "  operated on  %s\n", adminSummary(cfg))
	fmt.Fprintf(w, "  log          %s\n", logSummary(cfg))
	fmt.Fprintf(w, "  lets in      %s\n", authSummary(a)+certificateSummary(cfg)+hookSummary(cfg))
	fmt.Fprintf(w, "  namespaces   %s\n", namespaceSummary(cfg))
	warnings := slices.Concat(insecurities(cfg), tokenWarnings(cfg.Auth, a), cfg.budgetWarnings())
	for _, warning := range warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	if len(warnings) == 0 {
		fmt.Fprintln(w, "No warnings.")
	}
	return len(warnings)
}

func logSummary(cfg Config) string {
	b := cfg.Broker
	if b.NATSURL != "" {
		return fmt.Sprintf("NATS servers, %d replicas, sync declared as %s", b.Replicas, b.Sync)
	}
	return fmt.Sprintf("embedded in %s, sync %s, up to %s", b.Data, b.Sync, cfg.budgetSummary())
}

func authSummary(a auth.Config) string {
	if a.Open {
		return "everybody"
	}
	var kinds []string
	if !a.HMAC.Secret.IsZero() {
		kinds = append(kinds, "tokens signed with "+a.HMAC.Algorithm)
	}
	for _, t := range a.Tokens {
		kinds = append(kinds, fmt.Sprintf("tokens of %s (%s)", t.Name, strings.Join(t.Algorithms, ", ")))
	}
	if n := len(a.Keys); n > 0 {
		kinds = append(kinds, plural(n, "API key"))
	}
	return strings.Join(kinds, " and ")
}

func namespaceSummary(cfg Config) string {
	var names []string
	for _, spec := range cfg.specs() {
		names = append(names, spec.Name)
	}
	switch {
	case cfg.Dev && len(names) == 0:
		return "any, at its first use"
	case cfg.Dev:
		names = append(names, "any other at its first use")
	}
	return strings.Join(names, ", ")
}

// insecurities says what is allowed and yet should be known.
func insecurities(cfg Config) []string {
	var list []string
	if cfg.Dev {
		list = append(list, "dev: everybody on this machine may do everything")
	}
	list = append(list, edgeInsecurities(cfg)...)
	list = append(list, cfg.shownSecrets()...)
	list = append(list, rightsInsecurities(cfg.Auth)...)
	list = append(list, limitInsecurities(cfg)...)
	if slices.Contains(cfg.Session.Origins, "*") {
		list = append(list, "session.origins: pages of any site may connect from a browser")
	}
	list = append(list, originInsecurities(cfg.Session.Origins)...)
	list = append(list, logInsecurities(cfg.Broker)...)
	if strings.Contains(cfg.Broker.NATSURL, "nats://") {
		list = append(list, "broker.nats_url: nats:// is not encrypted unless the server demands TLS; write tls://")
	}
	if cfg.Broker.NATSURL == "" && cfg.Broker.Sync == "interval" {
		list = append(list, "broker.sync: if the machine loses power, the last second of stored messages may be lost; "+
			"always avoids that and costs throughput")
	}
	list = append(list, exposedFiles(cfg)...)
	list = append(list, cfg.hookInsecurities()...)
	list = append(list, secretInsecurities(cfg)...)
	for _, w := range cfg.Webhooks {
		if w.Insecure && strings.HasPrefix(w.URL, "http:") {
			list = append(list, "webhooks."+w.Name+".insecure: anybody on the way to the receiver can read its events")
		}
	}
	return list
}
