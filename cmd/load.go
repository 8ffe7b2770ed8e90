package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Sources are where configuration comes from, besides DefaultConfig. A later one
// overrides an earlier: File, Environ, Flags.
type Sources struct {
	// File is a YAML file; empty is none, unless Environ names one as RIVULET_CONFIG.
	File string
	// Environ is as os.Environ returns it; only names that begin with RIVULET_ count.
	Environ []string
	Flags   []Setting
}

// Setting is one value from the command line.
type Setting struct {
	Flag  string // as the user typed it, e.g. --listen
	Key   string // e.g. server.listen
	Value string
}

const envPrefix = "RIVULET_"

// shortNames are environment variables that leave out the group.
func shortNames() map[string]string {
	return map[string]string{
		"LISTEN":   "server.listen",
		"DATA":     "broker.data",
		"NATS_URL": "broker.nats_url",
		"SYNC":     "broker.sync",
	}
}

// notKeys are variables of ours that do not configure a node.
func notKeys() []string { return []string{"CONFIG", "URL", "TOKEN", "CA", "CERT", "CERT_KEY"} }

// clusterVariable matches what Kubernetes puts into the environment of every
// container beside a service called rivulet or rivulet-something.
var clusterVariable = regexp.MustCompile(`(^|_)(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP)(_[A-Z]+)?)$`)

// Load reads the sources over the defaults. The error has every problem of the
// sources, or else every problem of the resulting configuration.
func Load(s Sources) (Config, error) {
	cfg, err := read(s)
	if err == nil {
		err = cfg.Validate()
	}
	return cfg, err
}

// read is Load without Validate.
func read(s Sources) (Config, error) {
	cfg := DefaultConfig()
	root := reflect.ValueOf(&cfg).Elem()
	cfg.sources = map[string]string{}
	file := s.File
	if file == "" {
		file = lookup(s.Environ, envPrefix+"CONFIG")
	}
	var problems []error
	if file != "" {
		text, err := os.ReadFile(file) //nolint:gosec // the operator names the file
		if err != nil {
			return cfg, fmt.Errorf("read the configuration: %w", err)
		}
		problems = append(problems, readYAML(root, file, text)...)
		if holdsSecret(root) || strings.Contains(cfg.Broker.NATSURL, "@") {
			cfg.secretsIn = file
		}
	}
	problems = append(problems, readEnviron(root, s.Environ, cfg.sources)...)
	for _, f := range s.Flags {
		a := assigner{source: f.Flag}
		cfg.sources[f.Key] = f.Flag
		a.assignText(root, f.Key, f.Value)
		problems = append(problems, a.problems...)
	}
	if len(problems) == 0 {
		problems = append(problems, cfg.readNATSURL())
	}
	return cfg, errors.Join(problems...)
}

// by says where a key was set, "" where that was the file.
func (c Config) by(key string) string {
	if source := c.sources[key]; source != "" {
		return " (" + source + ")"
	}
	return ""
}

// readNATSURL reads the file of it, if it is in one.
func (c *Config) readNATSURL() error {
	switch b := &c.Broker; {
	case b.NATSURLFile == "":
		return nil
	case b.NATSURL != "":
		return errors.New("broker.nats_url_file: broker.nats_url is set too; keep one")
	default:
		secret, err := readSecret("broker.nats_url_file", b.NATSURLFile)
		if err == nil && secret.IsZero() {
			err = fmt.Errorf("broker.nats_url_file: %s is empty", b.NATSURLFile)
		}
		b.NATSURL = secret.Reveal()
		return err
	}
}

func readYAML(root reflect.Value, file string, text []byte) []error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return []error{fmt.Errorf("%s: %w%s", file, err, tabHint(text))}
	}
	if len(doc.Content) == 0 {
		return nil // empty, or comments only
	}
	a := assigner{source: file}
	a.assign(doc.Content[0], root, "")
	return a.problems
}

// tabHint is for the commonest reason why a file is no YAML, which the parser's words hide.
func tabHint(text []byte) string {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]; bytes.ContainsRune(indent, '\t') {
			return fmt.Sprintf(" (line %d is indented with a tab; YAML takes only spaces)", number)
		}
	}
	return ""
}

// readEnviron notes in sources what has set which key.
func readEnviron(root reflect.Value, environ []string, sources map[string]string) []error {
	byName := shortNames()
	for _, key := range keysOf(root.Type(), "") {
		byName[strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = key
	}
	var problems []error
	for _, variable := range slices.Sorted(slices.Values(environ)) {
		full, value, _ := strings.Cut(variable, "=")
		name, ours := strings.CutPrefix(full, envPrefix)
		if !ours || slices.Contains(notKeys(), name) || clusterVariable.MatchString(name) {
			continue
		}
		key, known := byName[name]
		if !known {
			hint := strings.Replace(suggest(name, sortedKeys(byName)), "mean ", "mean "+envPrefix, 1)
			problems = append(problems, fmt.Errorf("environment: %s: unknown variable%s", full, hint))
			continue
		}
		a := assigner{source: "environment: " + full}
		sources[key] = a.source
		a.assignText(root, key, value)
		problems = append(problems, a.problems...)
	}
	return problems
}

func lookup(environ []string, name string) string {
	for _, variable := range environ {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}
