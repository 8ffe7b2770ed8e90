package cmd

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// nodeFlags are the flags of every command that reads a node's configuration.
type nodeFlags struct {
	file string
	set  []string
	keys map[string]string // flag to key
}

// add declares the flags on cmd. All values are read by the schema, as those of
// the file are, so that one place says what is right.
func (f *nodeFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.keys = map[string]string{}
	fs.StringVarP(&f.file, "config", "c", "", "YAML `file` with the configuration (env RIVULET_CONFIG)")
	f.key(fs, "listen", "server.listen", "`host:port` to listen on (default "+DefaultListen+", with --dev "+DevListen+")")
	f.key(fs, "data", "broker.data", "`folder` of the embedded log (default "+DefaultConfig().Broker.Data+")")
	f.key(fs, "nats-url", "broker.nats_url", "`servers` of NATS, separated by commas, to use instead of the embedded log")
	f.key(fs, "sync", "broker.sync", "`when` the embedded log reaches the disk: interval (every second) or always")
	f.key(fs, "disk-budget", "broker.disk_budget", "`size` up to which the embedded log may grow, e.g. 16GiB (default half of the free disk, at most 16GiB)")
	f.key(fs, "log-format", "log.format", "`format` of the program's log: auto (text on a terminal, else json), text or json")
	f.key(fs, "log-level", "log.level", "least `level` of what is logged: debug, info, warn or error")
	fs.Bool("dev", false, "open to everybody, on this machine only: for trying out")
	f.keys["dev"] = "dev"
	fs.StringArrayVar(&f.set, "set", nil, "any other `key=value` of the configuration, e.g. --set server.stop_timeout=10s; may be repeated")
}

// hide leaves flags out of the help of a command that they mean little to. They are
// still read, so that a node's command line can be given as it is.
func hide(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		_ = cmd.Flags().MarkHidden(name) // fails only for a flag that is not there
	}
}

func (f *nodeFlags) key(fs *pflag.FlagSet, flag, key, usage string) {
	f.keys[flag] = key
	fs.String(flag, "", usage)
}

// sources are where the configuration of cmd comes from.
func (f *nodeFlags) sources(cmd *cobra.Command, environ []string) (Sources, error) {
	s := Sources{File: f.file, Environ: environ}
	for _, pair := range f.set {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return s, usagef("--set %q: write key=value", pair)
		}
		s.Flags = append(s.Flags, Setting{Flag: "--set", Key: key, Value: value})
	}
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if key, ok := f.keys[flag.Name]; ok {
			s.Flags = append(s.Flags, Setting{Flag: "--" + flag.Name, Key: key, Value: flag.Value.String()})
		}
	})
	return s, nil
}

// load reads and checks the configuration.
func (f *nodeFlags) load(cmd *cobra.Command, environ []string) (Config, error) {
	cfg, err := f.read(cmd, environ)
	if err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usagef("%w", err)
	}
	return cfg, nil
}

// read is load for those who check the configuration themselves.
func (f *nodeFlags) read(cmd *cobra.Command, environ []string) (Config, error) {
	s, err := f.sources(cmd, environ)
	if err != nil {
		return Config{}, err
	}
	cfg, err := read(s)
	if err != nil {
		return cfg, usagef("%w", err)
	}
	return cfg, nil
}
