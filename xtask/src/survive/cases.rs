//! The programs, and what is done with each.

/// A program, what is done with it, and what is compared.
pub struct Case {
    pub name: &'static str,
    pub command: &'static [&'static str],
    pub compare: Compare,
}

/// What must be the same under the recorder, besides the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// All that it prints.
    Output,
    /// What Python's test runner says of each module: which passed, failed, were skipped.
    PythonTests,
}

pub const CASES: [Case; 17] = [
    Case {
        name: "python's tests",
        command: &["/usr/bin/python3", "-c", PYTHON_TESTS],
        compare: Compare::PythonTests,
    },
    Case {
        name: "python, threads",
        command: &[
            "/usr/bin/python3",
            "-c",
            "import threading, json\nr = []\n\
             def f(n): r.append(len(json.dumps([{'k': [i] * 9} for i in range(3000)])))\n\
             t = [threading.Thread(target=f, args=(n,)) for n in range(64)]\n\
             [x.start() for x in t]; [x.join() for x in t]; print(sum(r))",
        ],
        compare: Compare::Output,
    },
    Case {
        name: "python, forks of threads",
        command: &["/usr/bin/python3", "-W", "ignore", "-c", FORKS_OF_THREADS],
        compare: Compare::Output,
    },
    Case {
        name: "python, no memory",
        command: &[
            "sh",
            "-c",
            "ulimit -v 600000; exec /usr/bin/python3 -c \"\
             kept = []\n\
             try:\n    while True: kept.append(bytearray(1 << 20))\n\
             except MemoryError: kept.clear(); print('no memory')\n\
             print(sum(range(1000)))\"",
        ],
        compare: Compare::Output,
    },
    Case {
        name: "perl",
        command: &[
            "/usr/bin/perl",
            "-MData::Dumper",
            "-MStorable=dclone",
            "-e",
            "my %h = map { $_ => [1 .. $_ % 50] } 1 .. 2000; my $c = dclone(\\%h); \
             for my $i (1 .. 20) { my $p = fork; if (!$p) { my $d = Dumper($c); exit $i } waitpid $p, 0; print $? >> 8, qq(\\n) }",
        ],
        compare: Compare::Output,
    },
    Case {
        name: "perl, sorting and pipes",
        command: &["/usr/bin/perl", "-e", PERL_SORTS],
        compare: Compare::Output,
    },
    Case {
        name: "perl, sockets",
        command: &[
            "/usr/bin/perl",
            "-MSocket",
            "-MIO::Handle",
            "-e",
            PERL_SOCKETS,
        ],
        compare: Compare::Output,
    },
    Case {
        name: "perl, its own signals",
        command: &[
            "/usr/bin/perl",
            "-e",
            "my $n = 0; $SIG{USR1} = sub { $n++; my @a = map { \"x$_\" } 1 .. 100 }; \
             $SIG{USR2} = sub { $n += 1000 }; \
             for (1 .. 500) { kill USR1 => $$; kill USR2 => $$; my @b = (1) x 50 } print \"$n\\n\"",
        ],
        compare: Compare::Output,
    },
    Case {
        name: "git, commits and log",
        command: &["sh", "-ec", GIT_LOG],
        compare: Compare::Output,
    },
    Case {
        name: "git, clone",
        command: &["sh", "-ec", GIT_CLONE],
        compare: Compare::Output,
    },
    Case {
        name: "git, rebase",
        command: &["sh", "-ec", GIT_REBASE],
        compare: Compare::Output,
    },
    Case {
        name: "git, gc",
        command: &["sh", "-ec", GIT_GC],
        compare: Compare::Output,
    },
    Case {
        name: "a chain of exec",
        command: &["sh", "-c", EXEC_CHAIN, EXEC_CHAIN],
        compare: Compare::Output,
    },
    Case {
        name: "sqlite",
        command: &[
            "/usr/bin/sqlite3",
            ":memory:",
            "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) \
             insert into t select i, hex(i * 7919) from n; create index x on t(b); \
             select count(*), max(b) from t where b > '5'; select length(group_concat(b)) from t;",
        ],
        compare: Compare::Output,
    },
    Case {
        name: "redis",
        command: &["sh", "-c", REDIS],
        compare: Compare::Output,
    },
    Case {
        name: "cc1plus",
        command: &[
            "sh",
            "-ec",
            "printf '#include <regex>\\n#include <map>\\nstd::map<int, std::regex> m; int main() {}' > $HEAPATLAS_FOLDER/x.cpp; \
             exec $(g++ -print-prog-name=cc1plus) -quiet -imultiarch x86_64-linux-gnu -O2 $HEAPATLAS_FOLDER/x.cpp -o -",
        ],
        compare: Compare::Output,
    },
    Case {
        name: "g++, every process of it",
        command: &[
            "sh",
            "-ec",
            "cd $HEAPATLAS_FOLDER; printf '#include <iostream>\\nint main() { std::cout << 42; }' > y.cpp; \
             g++ -O1 y.cpp -o y; exec ./y",
        ],
        compare: Compare::Output,
    },
];

/// The modules that this Python has, of those that end in a reasonable time and use nothing of the network.
const PYTHON_TESTS: &str = "\
import os, sys, importlib.util
names = '''abc argparse array ast atexit base64 bigmem binascii binop bisect bool bufio builtin bytes bz2
calendar cmath codecs collections complex configparser contextlib copy copyreg csv ctypes datetime decimal
decorators defaultdict deque descr dict dictcomps difflib dis enum exceptions fileinput float fnmatch fork1
format fractions frozen functools gc generators genexps getopt glob global grammar graphlib gzip hash hashlib
heapq html io int isinstance iter itertools json keyword lambda linecache list listcomps long lzma math
memoryio memoryview mmap mimetypes operator ordered_dict optparse os pathlib pickle pkgutil pprint pwd
queue random range re richcmp sched select set shelve shlex shutil slice sort sqlite3 statistics string
string_literals stringprep strptime struct subprocess super symtable syntax tempfile textwrap thread
threading_local time timeit tokenize tuple types typing unicode unpack userdict uuid weakref weakset
with yield_from zipapp zlib'''.split()
names = ['test_' + name for name in names if importlib.util.find_spec('test.test_' + name)]
os.execv(sys.executable, [sys.executable, '-m', 'test', *names])
";

const FORKS_OF_THREADS: &str = "\
import os, threading, json
stop = False
def churn():
    while not stop: json.dumps([{'k': [i] * 9} for i in range(50)])
threads = [threading.Thread(target=churn) for _ in range(8)]
[t.start() for t in threads]
codes = []
for i in range(60):
    pid = os.fork()
    if pid == 0:
        kept = [bytearray(n) for n in range(2000)]
        os._exit(i)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
stop = True
[t.join() for t in threads]
print(codes)
";

const PERL_SORTS: &str = "\
my @words = map { join '', map { chr(97 + ($_ * 7919 + $_[0]) % 26) } $_ .. $_ + $_ % 9 } 1 .. 60000; \
my %count; $count{$_}++ for @words; \
open my $pipe, '|-', 'sort | tail -3' or die; \
print $pipe \"$_ $count{$_}\\n\" for sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count; \
close $pipe; my @lines = `seq 1 5000`; print scalar(@lines), \" $?\\n\"; \
my $text = join ' ', @words; my $n = () = $text =~ /(\\w)\\w*\\1/g; print \"$n\\n\";";

/// Each child has the sockets of those before it: so the last one must go first.
const PERL_SOCKETS: &str = "\
my @children; \
for my $i (1 .. 12) { \
  socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; \
  my $pid = fork; \
  if (!$pid) { close $a; while (<$b>) { my %h = map { $_ => 1 } split //; print $b scalar(keys %h), \"\\n\"; $b->flush } exit $i } \
  close $b; push @children, [$pid, $a]; \
} \
for my $round (1 .. 50) { for (@children) { my $s = $_->[1]; print $s 'abc' x $round, \"\\n\"; $s->flush; $sum += <$s> } } \
for (reverse @children) { close $_->[1]; waitpid $_->[0], 0; push @codes, $? >> 8 } \
print \"$sum @codes\\n\";";

/// Gets itself as `$0`.
const EXEC_CHAIN: &str = "n=$((n + 1)); export n; \
    if [ $n -lt 30 ]; then exec sh -c \"$0\" \"$0\"; fi; exec /usr/bin/perl -e 'print \"$ENV{n}\\n\"'";

/// A repository with nine commits, nothing of the user's settings, and then a command in its place.
macro_rules! git {
    ($($command:literal)*) => {
        concat!(
            "d=$HEAPATLAS_FOLDER/git; rm -rf $d; mkdir $d; cd $d; \
             export HOME=$d GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat GIT_EDITOR=true \
             GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e \
             GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'; \
             git init -q -b main r; cd r; \
             for i in 1 2 3 4 5 6 7 8 9; do seq $i 5000 > f$i; git add .; git commit -qm c$i; done; ",
            $($command),*
        )
    };
}

const GIT_LOG: &str = git!("exec git log -p --stat");
const GIT_CLONE: &str =
    git!("git clone --no-local --quiet . $d/copy; cd $d/copy; git log --oneline");
const GIT_REBASE: &str = git!(
    "git checkout -qb side HEAD~4; seq 1 100 > g; git add .; git commit -qm side; \
     seq 1 200 > g; git commit -qam more; exec git rebase main"
);
const GIT_GC: &str = git!("exec git gc --prune=now --quiet");

/// The server is the process that stays; what loads it and ends it is its child.
const REDIS: &str = "cd $HEAPATLAS_FOLDER; \
    (unset LD_PRELOAD; until redis-cli -p 7397 ping; do :; done; \
     redis-benchmark -p 7397 -q -n 100000 -c 50 -t set,get,lpush,lrange_100,hset; \
     redis-cli -p 7397 bgsave; redis-cli -p 7397 shutdown nosave) > client 2>&1 & \
    exec redis-server --port 7397 --save '' --logfile server --dir $HEAPATLAS_FOLDER";
