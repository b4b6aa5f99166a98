# For every interactive bash; a person's own settings in ~/.bashrc come after these.
case $- in *i*) ;; *) return ;; esac

# The folder in blue, then a mark that is red when the last command failed. Every command is kept
# at once: several terminals are open, and any of them may end without saying so.
__cloudide_prompt() {
    local mark=$(($? ? 31 : 32))
    history -a
    PS1="\[\e]0;\w\a\]\[\e[1;34m\]\w\[\e[0m\] \[\e[${mark}m\]\$\[\e[0m\] "
}
PROMPT_COMMAND=__cloudide_prompt

HISTCONTROL=ignoreboth
HISTSIZE=20000
HISTFILESIZE=40000
shopt -s histappend checkwinsize

alias ls='ls --color=auto'
alias ll='ls --color=auto -l --almost-all'
alias grep='grep --color=auto'

if [ -r /usr/share/bash-completion/bash_completion ]; then
    . /usr/share/bash-completion/bash_completion
fi
