package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Streams are what a command line is run with, so that tests can run one too.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string // as os.Environ returns it
}

// Exit codes of the binary.
const (
	ExitOK     = 0
	ExitFailed = 1 // the command was understood and failed
	ExitUsage  = 2 // the command line or the configuration is wrong
)

// Main runs one command line, without the program's name, until it is done or
// ctx ends, and returns the exit code. It writes errors to s.Err.
func Main(ctx context.Context, args []string, s Streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintf(s.Err, "rivulet: %s\n", present(err))
	if _, ok := errors.AsType[*usageError](err); ok {
		return ExitUsage
	}
	return ExitFailed
}

// usageError marks what the user can mend on the command line or in the configuration.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// present is an error's text for a person: without the names of our packages,
// further problems under the first.
func present(err error) string {
	text := strings.TrimSpace(err.Error())
	for _, name := range []string{"rivulet", "cmd", "protocol", "auth: mint", "auth"} {
		text = strings.ReplaceAll(strings.TrimPrefix(text, name+": "), ": "+name+": ", ": ")
	}
	return strings.ReplaceAll(text, "\n", "\n  ")
}

func newRoot(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "rivulet",
		Short: "Durable realtime fan-out: publish over HTTP, receive over WebSocket and SSE",
		Long: `Rivulet takes messages over HTTP, stores them, and delivers them to everybody who
is subscribed: in order, live, and after a disconnection from where they stopped.

  rivulet serve --dev                            start a node to try it out
  rivulet subscribe chat:lobby                   watch a channel
  rivulet publish chat:lobby '{"text":"hello"}'  store a message`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              commandsOnly,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.Version = Version() // has --version
	root.SetVersionTemplate(versionLine())
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// A misspelt command is taken for an argument of the one above it, which does not
		// have the flag.
		if given := cmd.Flags().Args(); cmd.HasSubCommands() && len(given) > 0 && !cmd.Flags().Changed("allow") {
			return noCommand(cmd, given[0])
		}
		return usagef("%w; see: %s --help", flagError(cmd, err), cmd.CommandPath())
	})
	root.AddCommand(
		newServe(s),
		newPublish(s),
		newSubscribe(s),
		newHistory(s),
		newDelete(s),
		newSchedule(s),
		newGroups(s),
		newSessions(s),
		newWebhooks(s),
		newPresence(s),
		newConnections(s),
		newToken(s),
		newKey(s),
		newRevoke(s),
		newRevocations(s),
		newMigrate(s),
		newCheck(s),
		newBench(s),
		newVersion(s),
	)
	return root
}

// flagError says of a flag's value what would be right.
func flagError(cmd *cobra.Command, err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return unknownFlag(cmd, err)
	}
	name, value := invalid.GetFlag().Name, invalid.GetValue()
	what := map[string]string{"int": "a whole number", "float64": "a number", "bool": "true or false"}[invalid.GetFlag().Value.Type()]
	switch cause := invalid.Unwrap(); {
	case errors.Is(cause, strconv.ErrRange):
		return fmt.Errorf("--%s %s: is too large", name, value)
	case what != "":
		return fmt.Errorf("--%s %q: must be %s", name, value, what)
	default:
		return fmt.Errorf("--%s: %w", name, cause) // it repeats the value
	}
}

// unknownFlag says which flag of cmd may be meant by one that it does not have.
func unknownFlag(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, "--"+f.Name)
		}
	})
	near := suggest("--"+unknown.GetSpecifiedName(), known)
	if !strings.Contains(near, "did you mean") {
		near = ""
	}
	return fmt.Errorf("%w%s", err, near)
}

// commandsOnly is for a command that has others below it and does nothing itself.
func commandsOnly(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return noCommand(cmd, args[0])
	}
	return nil
}

// noCommand says which of the commands below cmd may be meant by a name that none has.
func noCommand(cmd *cobra.Command, name string) error {
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	near := strings.Replace(suggest(name, known), "the keys here are", "the commands here are", 1)
	return usagef("there is no command %q%s; see: %s --help", name, near, cmd.CommandPath())
}

// arguments checks the number of arguments and says what they are.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			got := strconv.Itoa(len(args)) + " arguments"
			switch {
			case len(args) == 1:
				got = strconv.Quote(args[0])
			case len(args) == 0:
				got = "none"
			}
			return usagef("%s takes %s, got %s; see: %s --help", cmd.Name(), what, got, cmd.CommandPath())
		}
		return nil
	}
}
