package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"ringcast/engine"
)

// Load returns one of these where a flag requests a text and not a server.
var (
	ErrHelp    = errors.New("help asked for")
	ErrVersion = errors.New("version asked for")
)

// A given is a value that a source gave to a setting.
type given struct {
	*setting
	value  string
	source string // as messages name it: file:line, variable or flag
}

// Load makes a Config of all sources. Its error joins everything that is wrong with them.
func Load(args, environ []string) (Config, error) {
	c := Config{Engine: engine.DefaultConfig(), from: make(map[string]string)}
	for i := range settings {
		if s := &settings[i]; s.initial != "" {
			if err := s.set(&c, s.initial); err != nil {
				panic(fmt.Sprintf("default of %s: %v", s.key, err))
			}
		}
	}
	flags, flagErr := readFlags(args)
	if errors.Is(flagErr, ErrHelp) || errors.Is(flagErr, ErrVersion) {
		return c, flagErr
	}
	variables, envErr := readEnvironment(environ)

	// The file is the weakest of the three, but only the others name it.
	file := ""
	for _, g := range slices.Concat(variables, flags) {
		if g.key == "config" {
			file = g.value
		}
	}
	var entries []given
	var fileErr error
	if file != "" {
		entries, fileErr = readFile(file)
	}
	err := errors.Join(
		fileErr, c.apply(entries),
		envErr, c.apply(variables),
		flagErr, c.apply(flags),
	)
	if err != nil {
		return c, err
	}
	// Room is reserved for publishers that show a token, so without one for nobody.
	c.Engine.Sessions.Reserve = c.guarded()
	c.complete()
	return c, c.validate()
}

// apply sets the values of one source.
func (c *Config) apply(source []given) (err error) {
	cleared := make(map[string]bool)
	for _, g := range source {
		if g.clear != nil && !cleared[g.key] {
			g.clear(c)
			cleared[g.key] = true
		}
		if e := g.set(c, g.value); e != nil {
			err = errors.Join(err, g.refuse(e))
			continue
		}
		c.from[g.key] = g.source
	}
	return err
}

func (g *given) refuse(why error) error {
	if g.secret {
		return fmt.Errorf("invalid value for %s in %s: %w", g.key, g.source, why)
	}
	return fmt.Errorf("invalid value %q for %s in %s: %w", g.value, g.key, g.source, why)
}

// readFlags accepts --key value, --key=value, and --key alone for a switch. One dash works, too. No message quotes an
// argument that may be the value of a mistyped flag: it may be a secret.
func readFlags(args []string) (out []given, err error) {
	all := len(args)
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, dashed := strings.CutPrefix(arg, "-")
		if !dashed || name == "" || name == "-" {
			return out, errors.Join(err, fmt.Errorf("argument %d is not a flag; --help lists all settings",
				all-len(args)))
		}
		name, value, has := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		switch name {
		case "help", "h":
			return nil, ErrHelp
		case "version":
			return nil, ErrVersion
		}
		s := find(name)
		switch {
		case s == nil:
			err = errors.Join(err, unknown("flag", "--"+name, "", func(s *setting) string { return "--" + s.key }))
			// The next argument may be its value, so it must not cause another error.
			if !has && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				args = args[1:]
			}
			continue
		case s.noFlag:
			err = errors.Join(err, fmt.Errorf("flag --%s: only the file or %s can give it", name, s.env()))
			if !has && len(args) > 0 {
				args = args[1:]
			}
			continue
		case has:
		case s.arg == "":
			value = "true"
		case len(args) == 0:
			return out, errors.Join(err, fmt.Errorf("flag --%s needs a value", name))
		default:
			value, args = args[0], args[1:]
		}
		out = append(out, given{s, value, "flag --" + name})
	}
	return out, err
}

// readEnvironment reads the variables that begin with RINGCAST_.
func readEnvironment(environ []string) (out []given, err error) {
	environ = slices.Sorted(slices.Values(environ)) // for the order of errors
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(testVariables, name) || serviceLink.MatchString(rest) {
			continue
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return s.env() == name })
		if s, stream, ok := tokenVariable(name); i < 0 && ok {
			out = append(out, given{s, stream + "=" + value, "variable " + name})
			continue
		}
		if i < 0 {
			err = errors.Join(err, unknown("variable", name, "", (*setting).env))
			continue
		}
		out = append(out, given{&settings[i], value, "variable " + name})
	}
	return out, err
}

// testVariables configure package testenv. The server inherits them from tests.
var testVariables = []string{
	"RINGCAST_BIN", "RINGCAST_ARGS", "RINGCAST_ARTIFACTS", "RINGCAST_CHROMIUM", "RINGCAST_NEED",
}

// serviceLink matches, without the prefix, the variables that Kubernetes and Docker set in every container for a
// service named ringcast, or ringcast-something.
var serviceLink = regexp.MustCompile(
	`^(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|` +
		`PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// readFile reads a YAML mapping of keys to single values, or to lists where a setting is repeatable. Messages quote
// only keys and refused values of the file: it may hold secrets.
func readFile(path string) (out []given, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	tree, err := parser.ParseBytes(content, 0)
	if err != nil {
		at, why := path, "not YAML"
		if e := yaml.Error(nil); errors.As(err, &e) {
			if token := e.GetToken(); token != nil {
				at = fmt.Sprintf("%s:%d", path, token.Position.Line)
			}
			why, _, _ = strings.Cut(e.GetMessage(), ": \"") // the quoted part may be a value
			why = strings.ReplaceAll(why, "\t", `\t`)
		}
		return nil, fmt.Errorf("config: %s: %s", at, why)
	}
	docs := slices.DeleteFunc(tree.Docs, func(d *ast.DocumentNode) bool { return empty(d.Body) })
	if len(docs) == 0 {
		return nil, nil
	}
	if len(docs) > 1 {
		return nil, fmt.Errorf("config: %s:%d: only one document expected", path, line(docs[1].Body))
	}
	mapping, ok := docs[0].Body.(ast.MapNode)
	if !ok {
		return nil, fmt.Errorf("config: %s:%d: lines of the form \"key: value\" expected", path, line(docs[0].Body))
	}
	for i := mapping.MapRange(); i.Next(); {
		at := fmt.Sprintf("%s:%d", path, line(i.Key()))
		key := i.Key().GetToken().Value
		s := find(key)
		switch {
		case s == nil:
			err = errors.Join(err, unknown("key", key, at, func(s *setting) string { return s.key }))
		case s.outside:
			err = errors.Join(err, fmt.Errorf("key %q in %s: only a flag or %s can give it", key, at, s.env()))
		default:
			values, e := read(s, i.Value(), at, path)
			out, err = append(out, values...), errors.Join(err, e)
		}
	}
	return out, err
}

// read returns the value, or the list, at one key.
func read(s *setting, n ast.Node, at, path string) (out []given, err error) {
	list, isList := n.(*ast.SequenceNode)
	if !isList || s.clear == nil {
		value, err := scalar(n)
		if err != nil {
			return nil, fmt.Errorf("invalid value for %s in %s: %w", s.key, at, err)
		}
		return []given{{s, value, at}}, nil
	}
	if len(list.Values) == 0 {
		return []given{{s, "", at}}, nil
	}
	for _, n := range list.Values {
		at := fmt.Sprintf("%s:%d", path, line(n))
		value, e := scalar(n)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("invalid value for %s in %s: %w", s.key, at, e))
			continue
		}
		out = append(out, given{s, value, at})
	}
	return out, err
}

// scalar returns a single value as the file has it, of any YAML type.
func scalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	case *ast.NullNode:
		return "", errors.New("there is none")
	default:
		return "", errors.New("a single value expected")
	}
}

func empty(n ast.Node) bool {
	_, comment := n.(*ast.CommentGroupNode)
	return n == nil || comment
}

func line(n ast.Node) int { return n.GetToken().Position.Line }

func find(key string) *setting {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return nil
	}
	return &settings[i]
}
